"""Bringing a recording to a given length."""

import numpy as np
from numpy.typing import NDArray


def place(wave: NDArray[np.float32], time: int, rng: np.random.Generator, repeat_share: float) -> NDArray[np.float32]:
    """Return exactly ``time`` samples: a random cut of a long wave; a short one repeated, or alone among silence.

    Args:
        wave: shape (time,), at least one sample.
        time: wanted samples.
        rng: where chance comes from.
        repeat_share: how often a short wave is repeated.
    """
    if wave.shape[0] >= time:
        first = int(rng.integers(0, wave.shape[0] - time + 1))
        return wave[first : first + time].copy()
    if rng.random() < repeat_share:
        gap = np.zeros(int(rng.integers(0, max(1, wave.shape[0]))), dtype=np.float32)
        pattern = np.concatenate((wave, gap))
        shift = int(rng.integers(0, pattern.shape[0]))
        return np.resize(np.roll(pattern, shift), time).astype(np.float32)
    placed = np.zeros(time, dtype=np.float32)
    first = int(rng.integers(0, time - wave.shape[0] + 1))
    placed[first : first + wave.shape[0]] = wave
    return placed
