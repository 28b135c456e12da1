"""Small recordings for tests."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WriteTone = Callable[..., Path]


def tone(
    seconds: float, sample_rate: int, channels: int, frequency_hz: float = 440.0, gain: float = 0.3
) -> NDArray[np.float64]:
    """A tone that swells and ebbs, with a little noise; shape (time, channel)."""
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 1.5 * time_s)
    noise = np.random.default_rng(7).standard_normal((len(time_s), channels)) * 0.01
    phases = np.arange(channels) * 0.5
    return gain * swell[:, None] * np.sin(2 * np.pi * frequency_hz * time_s[:, None] + phases) + noise
