"""An anchor catalog with its variations as files that travel: python packed.py pack ANCHORS FOLDER | unpack FOLDER.

``pack`` lets the detector listen to the variations (``querysep train separator`` keeps the same in a folder), and keeps
sounds as Ogg Vorbis of some 90 kbit/s, whose error lies 29 dB below the sound. ``unpack`` decodes them there, plays the
variations, and writes one array of samples, which ``on_gpu.py`` trains on. Unpacking needs no store and no network.
"""

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from querysep.anchors.catalog import Anchor, Catalog, CatalogFacts, read_catalog
from querysep.model import load_detector
from querysep.training.variations import VariedCatalog, vary_catalog

GROUP = 100  # anchors in a file
QUALITY = 0.3  # soundfile's compression level: 90 kbit/s
WAVES = "waves.npy"
_BLOCK = 65_536  # the encoder must not be given more at once
_SPEECH = 1_000  # anchors of the class that has four thousand: every class is drawn alike


def pack(catalog: Catalog, varied: VariedCatalog, folder: Path) -> None:
    """Write a catalog, and what the detector says of its variations.

    Args:
        catalog: as it was mined.
        varied: the same with its variations.
        folder: for the files.
    """
    chosen = [int(index) for index in varied.chosen]
    kept = _kept(catalog, chosen)
    audio = folder / "audio"
    audio.mkdir(parents=True, exist_ok=True)
    for first in range(0, len(kept), GROUP):
        sound = np.concatenate([catalog.wave(index) for index in kept[first : first + GROUP]])
        with soundfile.SoundFile(
            audio / f"{first // GROUP:03d}.ogg", "w", catalog.sample_rate, 1, "VORBIS", None, "OGG", None, QUALITY
        ) as file:
            for start in range(0, len(sound), _BLOCK):
                file.write(sound[start : start + _BLOCK])
    place = {index: number for number, index in enumerate(kept)}
    told = {
        "facts": catalog.facts.model_dump(),
        "anchors": [catalog.anchors[index].model_dump() for index in kept],
        "chosen": [place[index] for index in chosen],
        "sounding": [anchor.sounding for anchor in varied.anchors[varied.plain :]],
    }
    (folder / "anchors.json").write_text(json.dumps(told))
    assert varied.noisy is not None
    latents = {"latents": varied.latents[kept], "varied": varied.latents[varied.plain :], "noisy": varied.noisy[chosen]}
    for name, values in latents.items():
        np.save(folder / f"{name}.npy", values.astype(np.float16))


def _kept(catalog: Catalog, chosen: Sequence[int]) -> list[int]:
    """Leave out most of the class that has far more anchors than any other, but none that is varied."""
    needed, spare = set(chosen), _SPEECH
    kept = []
    for index in np.random.default_rng(3).permutation(len(catalog.anchors)):
        anchor = catalog.anchors[index]
        if anchor.label == "Speech" and anchor.split == "train" and index not in needed:
            spare -= 1
            if spare < 0:
                continue
        kept.append(int(index))
    return sorted(kept)


def read_packed(folder: Path) -> tuple[Catalog, VariedCatalog]:
    """Return the catalog of an unpacked folder, and the same with its variations."""
    told = json.loads((folder / "anchors.json").read_text())
    anchors = [Anchor(**row) for row in told["anchors"]]
    latents, varied, noisy = (
        np.load(folder / f"{name}.npy").astype(np.float32) for name in ("latents", "varied", "noisy")
    )
    waves = np.load(folder / WAVES, mmap_mode="r")
    plain = Catalog(anchors, latents, np.asarray(waves[: len(anchors)]), CatalogFacts(**told["facts"]))
    variations = len(varied) // max(1, len(noisy))
    return plain, VariedCatalog(plain, told["chosen"], variations, told["sounding"], varied, noisy)


def unpack(folder: Path, workers: int) -> None:
    """Decode the sounds, play the variations, and write all samples, shape (anchor, time), int16."""
    told = json.loads((folder / "anchors.json").read_text())
    time = told["facts"]["segment_time"]
    anchors = [Anchor(**row) for row in told["anchors"]]
    shape = (len(anchors) + len(told["sounding"]), time)
    waves = np.lib.format.open_memmap(folder / WAVES, mode="w+", dtype=np.int16, shape=shape)
    with ProcessPoolExecutor(workers) as pool:
        parts = [anchors[first : first + GROUP] for first in range(0, len(anchors), GROUP)]
        jobs = [pool.submit(_decode, folder, number, part, time) for number, part in enumerate(parts)]
        for number, job in enumerate(jobs):
            waves[number * GROUP :][: len(parts[number])] = job.result()
    with ProcessPoolExecutor(workers) as pool:
        list(pool.map(_play, [folder] * workers, range(workers), [workers] * workers))


def _decode(folder: Path, number: int, anchors: Sequence[Anchor], time: int) -> NDArray[np.int16]:
    sound, _ = soundfile.read(folder / "audio" / f"{number:03d}.ogg", dtype="float32")
    samples = np.round(np.clip(sound, -1.0, 1.0) * 32767.0).astype(np.int16)
    segments = np.zeros((len(anchors), time), np.int16)
    start = 0
    for row, anchor in enumerate(anchors):
        segments[row, : anchor.sounding] = samples[start : start + anchor.sounding]
        start += anchor.sounding
    return segments


def _play(folder: Path, first: int, step: int) -> None:
    """Play every so manyth variation."""
    _, varied = read_packed(folder)
    waves = np.load(folder / WAVES, mmap_mode="r+")
    for index in range(varied.plain + first, len(waves), step):
        waves[index] = varied.audio([index])[0]


def main() -> None:
    """Pack or unpack."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing, unpacking = commands.add_parser("pack"), commands.add_parser("unpack")
    packing.add_argument("anchors", type=Path)
    packing.add_argument("--variations", type=int, default=12)
    packing.add_argument("--detector", type=Path, default=Path("default"))
    unpacking.add_argument("--workers", type=int, default=2)
    for one in (packing, unpacking):
        one.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "pack":
        catalog, detector = read_catalog(arguments.anchors), load_detector(arguments.detector)
        variations = arguments.folder / "variations"
        pack(catalog, vary_catalog(catalog, detector.network, arguments.variations, variations), arguments.folder)
    else:
        unpack(arguments.folder, arguments.workers)


if __name__ == "__main__":
    main()
