"""A small data set for the protocols: recordings of six classes, speech over music, and two pieces with their stems."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from querysep.data.formats.multitrack import MULTITRACK, Multitrack, Stem, write_multitracks
from querysep.data.manifest import RENDERED, Clip, Split, write_manifest

RATE = 32_000
LABELS = ("Bell", "Dog", "Rain", "Music", "Speech")
HELD_OUT = ("Goat", "Door")


def sound(label: str, seconds: float, seed: int) -> NDArray[np.float64]:
    """A noisy tone; each class has its own pitch, each recording its own beat."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * RATE)) / RATE
    pitch_hz = 200.0 * (1 + sum(map(ord, label)) % 37)
    beat = 0.6 + 0.4 * np.sin(2 * np.pi * rng.uniform(1, 4) * time_s)
    return 0.2 * beat * np.sin(2 * np.pi * pitch_hz * time_s) + 0.01 * rng.standard_normal(len(time_s))


def make_open_data(folder: Path, recordings: int = 4, stems: bool = True) -> Path:
    """Write the set and return its folder."""
    clips = []
    for label in (*LABELS, *HELD_OUT):
        for number in range(recordings):
            seconds = 0.4 if label == "Dog" else 5.0 if label == "Music" else 2.5
            clips.append(_write(folder, f"{label}/{number}.flac", label, seconds, number, f"{label} {number // 2}"))
    clips.append(_write(folder, "Bell/train.flac", "Bell", 2.5, 99, "Bell 99", split="train"))
    if stems:
        clips += _pieces(folder)
    write_manifest(clips, folder / "manifest.jsonl")
    return folder


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
