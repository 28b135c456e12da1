"""A small MUSDB18: four stems of a song, in the two layouts that MUSDB18 has."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

RATE = 44_100
ORDER = ("mixture", "drums", "bass", "other", "vocals")  # of the streams in a .stem.mp4
Wave = NDArray[np.float64]

needs_ffmpeg = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="ffmpeg, which decodes MUSDB18, is not installed"
)
"""CI installs it (.ci/run), so there nothing is skipped."""


def song(seed: int, seconds: float, rate: int = RATE) -> dict[str, Wave]:
    """Return the mixture and its stems, each of shape (time, 2).

    The vocals are a gliding voice with overtones that begins after a quarter of the song, the drums are bursts of noise
    four times in 3 s, the bass is a low square-like tone that is the same in both channels, the other is a chord.
    """
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(seconds * rate)) / rate
    silence = np.zeros(len(time_s))
    key_hz = 110.0 * 2 ** (rng.integers(0, 12) / 12)
    phase = 2 * np.pi * np.cumsum(2 * key_hz * (1 + 0.03 * np.sin(2 * np.pi * 5 * time_s))) / rate
    voice = sum((np.sin(number * phase) / number for number in range(1, 8)), silence) * (time_s >= seconds / 4)
    hits = np.exp(-((time_s + rng.uniform(0, 0.5)) % 0.75) * 12)
    bass = sum((np.sin(2 * np.pi * key_hz / 2 * number * time_s) / number for number in (1, 3, 5)), silence)
    chord = sum((np.sin(2 * np.pi * key_hz * 2 * step * time_s + step) for step in (1, 1.26, 1.5)), silence)
    stems = {
        "drums": 0.15 * hits[:, None] * rng.standard_normal((len(time_s), 2)),
        "bass": 0.1 * bass[:, None] * np.ones(2),
        "other": 0.06 * chord[:, None] * np.array([1.0, 0.5]),
        "vocals": 0.08 * voice[:, None] * np.array([0.9, 1.0]),
    }
    stems = {name: np.round(stem * 32_768) / 32_768 for name, stem in stems.items()}
    return {"mixture": sum(stems.values(), np.zeros((len(time_s), 2))), **stems}


def write_wav(folder: Path, parts: dict[str, Wave], rate: int = RATE) -> Path:
    """Write a track as MUSDB18-HQ has it."""
    folder.mkdir(parents=True)
    for name, wave in parts.items():
        soundfile.write(folder / f"{name}.wav", wave, rate, subtype="PCM_16")
    return folder


def write_stems(path: Path, parts: dict[str, Wave], rate: int = RATE) -> Path:
    """Write a track as MUSDB18 has it: five AAC streams, encoded by ffmpeg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command, maps = ["ffmpeg", "-v", "error", "-y"], []
    for number, name in enumerate(name for name in ORDER if name in parts):
        file = path.parent / f".{name}.wav"
        soundfile.write(file, parts[name], rate, subtype="PCM_16")
        command += ["-i", str(file)]
        maps += ["-map", f"{number}:a"]
    subprocess.run(
        [*command, *maps, "-c:a", "aac", "-aac_coder", "fast", str(path)], check=True, stdin=subprocess.DEVNULL
    )
    for name in parts:
        (path.parent / f".{name}.wav").unlink()
    return path


def make_musdb18(root: Path, layout: str, seconds: float = 4.2) -> Path:
    """Write two training and two test tracks."""
    for number, (subset, name) in enumerate(
        (subset, f"{artist} - Song") for subset in ("train", "test") for artist in ("Ann", "Bob")
    ):
        parts = song(number, seconds)
        if layout == "wav":
            write_wav(root / subset / name, parts)
        else:
            write_stems(root / subset / f"{name}.stem.mp4", parts)
    return root
