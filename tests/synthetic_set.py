"""A data set of synthetic clips, small enough to train on in a test."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from querysep.data.manifest import Clip, Split, write_manifest

RATE = 32_000


def _sound(label: str, time: int, rng: np.random.Generator) -> NDArray[np.float64]:
    seconds = np.arange(time) / RATE
    match label:
        case "Low tone":
            return 0.3 * np.sin(2 * np.pi * rng.uniform(150, 250) * seconds)
        case "High tone":
            return 0.3 * np.sin(2 * np.pi * rng.uniform(3000, 5000) * seconds)
        case _:
            return 0.1 * rng.standard_normal(time) * (np.sin(2 * np.pi * 4 * seconds) > 0)


def make_set(folder: Path, train: int = 6, test: int = 3, validation: int = 0) -> Path:
    """Write clips of three classes, one of them held out, and return the manifest."""
    rng = np.random.default_rng(0)
    clips = []
    for label in ("Low tone", "High tone", "Clicks", "Hiss"):
        held_out = label == "Hiss"
        sides: dict[Split, int] = {"train": train, "validation": validation, "test": test}
        for split, count in sides.items():
            if held_out and split != "test":
                continue
            for number in range(count):
                time = int(rng.uniform(0.5, 3.5) * RATE)
                path = f"{split}-{label.replace(' ', '-')}-{number}.flac"
                soundfile.write(folder / path, _sound(label, time, rng), RATE)
                clips.append(
                    Clip(
                        path=path,
                        labels=(label,) if label == "Clicks" else (label, "Sound"),
                        duration_s=time / RATE,
                        licence="CC0",
                        source="synthetic",
                        origin=path,
                        split=split,
                        held_out=held_out,
                    )
                )
    manifest = folder / "manifest.jsonl"
    write_manifest(clips, manifest)
    return manifest
