"""A small data set for the protocols: recordings of six classes, speech over music, and two pieces with their stems."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from querysep.data.formats.multitrack import MULTITRACK, Multitrack, Stem, write_multitracks
from querysep.data.manifest import RENDERED, REPOSITORY, Clip, Split, write_manifest

RATE = 32_000
LABELS = ("Bell", "Dog", "Rain", "Music", "Speech")
HELD_OUT = ("Goat", "Door")
EVERYDAY = ("Cough", "Siren", "Typing")


def sound(label: str, seconds: float, seed: int) -> NDArray[np.float64]:
    """A noisy tone; each class has its own pitch, each recording its own beat."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE)) / RATE
    pitch_hz = 200.0 * (1 + sum(map(ord, label)) % 37)
    beat = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(1, 4) * time_s)
    return 0.2 * beat * np.sin(2 * np.pi * pitch_hz * time_s) + 0.01 * rng.standard_normal(len(time_s))


def make_open_data(folder: Path, recordings: int = 4, stems: bool = True, everyday: bool = False) -> Path:
    """Write the set and return its folder.

    With ``everyday`` strangers' recordings are in it: of some classes on the test and the validation side, shorter and
    longer than the mixtures, two of Rain, and of classes that do not count as everyday ones.
    """
    clips = []
    for label in (*LABELS, *HELD_OUT):
        for number in range(recordings):
            seconds = 0.4 if label == "Dog" else 5.0 if label == "Music" else 2.5
            clips.append(_write(folder, f"{label}/{number}.flac", label, seconds, number, f"{label} {number // 2}"))
    clips.append(_write(folder, "Bell/train.flac", "Bell", 2.5, 99, "Bell 99", split="train"))
    if stems:
        clips += _pieces(folder)
    if everyday:
        clips += _of_strangers(folder)
    write_manifest(clips, folder / "manifest.jsonl")
    return folder


def _of_strangers(folder: Path) -> list[Clip]:
    source = f"{REPOSITORY}some/sounds"
    clips = []
    for split in ("test", "validation"):
        for label in EVERYDAY:
            for number in range(4):
                seconds, origin = (7.0 if number % 2 else 1.5), f"{split} {label} {number // 2}"
                clips.append(
                    _write(folder, f"{split}/{label}/{number}.flac", label, seconds, number, origin, source, split)
                )
    for label in ("Rain", "Speech", "Goat"):
        for number in range(2):
            name = f"strange {label} {number}"
            clips.append(_write(folder, f"{name}.flac", label, 2.5, 77 + number, name, source))
    yells = [_write(folder, f"yell {number}.flac", "Yell", 2.5, number, "one origin", source) for number in range(2)]
    return [*clips, *yells]


def _write(
    folder: Path,
    path: str,
    label: str,
    seconds: float,
    seed: int,
    origin: str,
    source: str = "made up",
    split: Split = "test",
) -> Clip:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(folder / path, sound(label, seconds, seed), RATE)
    return Clip(
        path=path,
        labels=(label, "Sound"),
        duration_s=seconds,
        licence="CC0",
        source=source,
        origin=origin,
        split=split,
        held_out=label in HELD_OUT,
    )


def _pieces(folder: Path) -> list[Clip]:
    """Three pieces of two stems; the third is for training."""
    clips, pieces = [], []
    splits: tuple[Split, ...] = ("test", "test", "train")
    for number, split in enumerate(splits):
        stems = []
        for label in ("Flute", "Violin"):
            path = f"music/{split}/piece-{number}/{label}.flac"
            clips.append(_write(folder, path, label, 3.0, number, f"soundfont:{label}", f"{RENDERED}font", split))
            stems.append(Stem(path=path, label=label, gain=0.8))
        pieces.append(
            Multitrack(
                name=f"piece-{number}",
                piece=f"composer/piece-{number}",
                terms="public domain",
                start_quarter=0.0,
                quarter_s=0.5,
                duration_s=3.0,
                split=split,
                stems=tuple(stems),
            )
        )
    write_multitracks(pieces, folder / MULTITRACK)
    return clips
