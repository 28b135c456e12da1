"""How well `querysep data check` finds copies and wrong labels.

Run: python benchmarks/data_check.py OPEN_SET copies; python benchmarks/data_check.py OPEN_SET labels

copies: 250 clips are changed in ways in which copies differ, and looked for among all clips of the set.
labels: 5 % of the labels of one split are swapped, five times, and looked for by the bundled detector's embedding.
"""

import argparse
import io
from collections.abc import Callable, Sequence

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from querysep.cli.data import embedder
from querysep.data.check.fingerprint import Fingerprint, find_matches, fingerprint, groups
from querysep.data.check.labels import doubtful_labels
from querysep.data.formats.data_set import OpenedRecordings, open_recordings

RATE = 32_000
Wave = NDArray[np.float32]
MARGINS = (0.0, 0.1, 0.2, 0.25, 0.3, 0.4)


def coded(wave: Wave, file_format: str, subtype: str, rate: int = RATE) -> Wave:
    """Write and read a wave in a lossy format."""
    memory = io.BytesIO()
    with soundfile.SoundFile(memory, "w", rate, 1, format=file_format, subtype=subtype) as sound:
        for start in range(0, wave.size, 8_000):  # one long call crashes libsndfile's Vorbis
            sound.write(wave[start : start + 8_000])
    memory.seek(0)
    return np.asarray(soundfile.read(memory, dtype="float32")[0])


def through(wave: Wave, rate: int) -> Wave:
    """Resample to another rate and back."""
    return np.asarray(soxr.resample(soxr.resample(wave, RATE, rate), rate, RATE))


def noisy(wave: Wave) -> Wave:
    """Add white noise 30 dB below."""
    noise = np.random.default_rng(0).standard_normal(wave.size).astype(np.float32)
    return np.asarray(wave + np.sqrt(np.square(wave).mean() / 1_000) * noise)


CHANGES: dict[str, Callable[[Wave], Wave]] = {
    "20 dB softer": lambda wave: 0.1 * wave,
    "MP3": lambda wave: coded(wave, "MP3", "MPEG_LAYER_III"),
    "Ogg Vorbis": lambda wave: coded(wave, "OGG", "VORBIS"),
    "8 kHz and back": lambda wave: through(wave, 8_000),
    "22.05 kHz and back": lambda wave: through(wave, 22_050),
    "half a frame later": lambda wave: np.concatenate((np.zeros(253, np.float32), wave)),
    "10 % cut off either end": lambda wave: wave[wave.size // 10 : -wave.size // 10],
    "noise 30 dB below": noisy,
    "cut, softer, Vorbis at 16 kHz": lambda wave: soxr.resample(
        coded(soxr.resample(0.3 * wave[wave.size // 20 :], RATE, 16_000), "OGG", "VORBIS", 16_000), 16_000, RATE
    ),
    "1 % faster": lambda wave: soxr.resample(wave, RATE, 32_320),
}


def copies(opened: OpenedRecordings, count: int) -> None:
    """Look for changed copies of clips among all clips."""
    prints = [fingerprint(opened.read(index), RATE) for index in range(len(opened.clips))]
    matches = find_matches(prints)
    print(f"the set itself: {len(matches)} pairs in {len(groups(matches))} groups")
    order = np.random.default_rng(1).permutation(len(prints)).tolist()
    chosen = [index for index in order if opened.clips[index].duration_s >= 0.3][:count]
    short = np.array([opened.clips[index].duration_s < 1 for index in chosen])
    for name, change in CHANGES.items():
        changed = [printed(change(np.divide(opened.read(index), 32_768, dtype=np.float32))) for index in chosen]
        found = {(match.first, match.second) for match in find_matches([*prints, *changed])}
        hit = np.array([(index, len(prints) + place) in found for place, index in enumerate(chosen)])
        print(f"{name:32s} {100 * hit.mean():5.1f} %   under 1 s {100 * hit[short].mean():5.1f} %", flush=True)


def printed(wave: Wave) -> Fingerprint:
    """Take the fingerprint of a wave, rounded to 16 bits."""
    return fingerprint(np.clip(np.rint(wave * 32_768), -32_768, 32_767).astype(np.int16), RATE)


def labels(opened: OpenedRecordings, seeds: int) -> None:
    """Look for swapped labels."""
    embed = embedder("default")
    sounds = [opened.read(index) for index in range(len(opened.clips))]
    vectors = np.stack([embed(sound) for sound in sounds])
    true = [clip.labels for clip in opened.clips]
    group = {index: number for number, one in enumerate(copied(sounds)) for index in one}
    own = [group.get(index, len(true) + index) for index in range(len(true))]
    usual = {doubt.index: doubt.margin for doubt in doubtful_labels(vectors, true, own, 0.0)}
    rows = []
    for seed in range(seeds):
        given, swapped = swap(true, np.random.default_rng(seed))
        doubts = doubtful_labels(vectors, given, own, 0.0)
        for margin in MARGINS:
            told = {doubt.index for doubt in doubts if doubt.margin >= margin}
            rows.append(
                (margin, len(told & swapped) / max(1, len(told)), len(told & swapped) / len(swapped), len(told))
            )
    print(f"{len(true)} clips, {len({label[0] for label in true})} classes, {len(swapped)} swapped")
    for margin in MARGINS:
        _, precision, recall, told_of = np.mean([row for row in rows if row[0] == margin], axis=0)
        without = sum(one >= margin for one in usual.values())
        print(
            f"margin {margin:.2f}: precision {precision:.2f} recall {recall:.2f}, "
            f"{told_of:.0f} told, {without} without swaps"
        )


def copied(sounds: Sequence[NDArray[np.int16]]) -> list[list[int]]:
    """Return the groups of copies."""
    return groups(find_matches([fingerprint(sound, RATE) for sound in sounds]))


def swap(true: Sequence[tuple[str, ...]], random: np.random.Generator) -> tuple[list[tuple[str, ...]], set[int]]:
    """Give 5 % of the clips the labels of an unrelated class."""
    kinds = sorted(set(true))
    swapped = set(random.choice(len(true), round(0.05 * len(true)), replace=False).tolist())
    given = list(true)
    for index in swapped:
        others = [kind for kind in kinds if kind[0] not in true[index] and true[index][0] not in kind]
        given[index] = others[random.integers(len(others))]
    return given, swapped


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("part", choices=("copies", "labels"))
    parser.add_argument("--split", default="test", help="for labels: the bundled detector has not heard the test side")
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    if arguments.part == "copies":
        copies(open_recordings(arguments.data, RATE), arguments.count)
    else:
        labels(open_recordings(arguments.data, RATE, split=arguments.split), arguments.seeds)
