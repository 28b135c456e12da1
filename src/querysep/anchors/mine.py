"""Mining: the detector over all clips, once; for each clip the stretches in which its class is most present."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from querysep.anchors.catalog import Anchor, Catalog, write_catalog
from querysep.anchors.choice import Stretch, most_present
from querysep.data.clips import ClipBank
from querysep.data.manifest import Clip
from querysep.detection.htsat import Htsat
from querysep.detection.windows import PresenceMap, PresenceStream, embed
from querysep.progress import Progress, silent

_PART = 400  # clips between two files that a resumed run need not do again


@dataclass(frozen=True)
class _Mined:
    rows: list[Anchor]
    audio: list[NDArray[np.int16]]
    latents: list[NDArray[np.float32]]


def mine(
    bank: ClipBank,
    network: Htsat,
    labels: Sequence[str],
    detector_hash: str,
    folder: Path,
    segment_s: float = 2.0,
    stretch_s: float = 10.0,
    progress: Progress = silent,
) -> Catalog:
    """Mine anchors of every clip's first label and write a catalog; resumes in the same folder.

    Args:
        bank: clips with their samples.
        network: the detector, in eval mode.
        labels: the detector's classes, in order.
        detector_hash: kept in the catalog; parts mined by another detector are not reused.
        folder: where the catalog goes.
        segment_s: length of an anchor segment.
        stretch_s: one anchor for each stretch of this length in a clip.
        progress: told after each clip.

    Returns:
        The catalog.
    """
    parts_folder = folder / "parts" / detector_hash
    parts_folder.mkdir(parents=True, exist_ok=True)
    rows: list[Anchor] = []
    audio: list[NDArray[np.int16]] = []
    latents: list[NDArray[np.float32]] = []
    for first in range(0, len(bank.clips), _PART):
        path = parts_folder / f"{first:07d}.npz"
        if not path.is_file():
            mined = _mine_part(bank, first, network, labels, segment_s, stretch_s, progress)
            temporary = path.with_suffix(".part.npz")
            text = np.array([row.model_dump_json() for row in mined.rows])
            np.savez(temporary, rows=text, audio=np.stack(mined.audio), latents=np.stack(mined.latents))
            temporary.replace(path)
        with np.load(path) as part:
            rows.extend(Anchor.model_validate_json(str(row)) for row in part["rows"])
            audio.append(part["audio"])
            latents.append(part["latents"])
    catalog = Catalog(tuple(rows), np.concatenate(audio), np.concatenate(latents), bank.sample_rate, detector_hash)
    write_catalog(folder, catalog)
    for path in parts_folder.glob("*.npz"):
        path.unlink()
    return catalog


def _mine_part(
    bank: ClipBank,
    first: int,
    network: Htsat,
    labels: Sequence[str],
    segment_s: float,
    stretch_s: float,
    progress: Progress,
) -> _Mined:
    mined = _Mined([], [], [])
    segment = round(segment_s * bank.sample_rate)
    for index in range(first, min(first + _PART, len(bank.clips))):
        clip, samples = bank.clips[index], bank.samples[index]
        wave = samples.astype(np.float32) / 32768.0
        stream = PresenceStream(network)
        stream.push(wave)
        presence = stream.finish()
        for stretch in most_present(presence, labels.index(clip.labels[0]), bank.sample_rate, segment_s, stretch_s):
            cut = wave[stretch.first : stretch.end]
            mined.rows.append(_row(clip, stretch, cut.shape[0], presence, labels, bank.sample_rate))
            mined.audio.append(np.pad(samples[stretch.first : stretch.end], (0, segment - cut.shape[0])))
            mined.latents.append(embed(network, torch.from_numpy(cut[None]))[0].numpy())
        progress(index + 1, len(bank.clips), "mining anchors")
    return mined


def _row(
    clip: Clip, stretch: Stretch, sounding: int, presence: PresenceMap, labels: Sequence[str], sample_rate: int
) -> Anchor:
    frames = slice(
        int(stretch.first / sample_rate / presence.frame_s),
        max(1, round(stretch.end / sample_rate / presence.frame_s)),
    )
    means = presence.framewise[:, frames].mean(axis=1)
    unrelated = sum(float(mean) for label, mean in zip(labels, means, strict=True) if label not in clip.labels)
    score = min(1.0, max(0.0, stretch.score))
    return Anchor(
        label=clip.labels[0],
        labels=clip.labels,
        clip=clip.path,
        origin=clip.origin,
        start_s=stretch.first / sample_rate,
        sounding=sounding,
        score=score,
        purity=score / (score + unrelated) if score > 0 else 0.0,
    )
