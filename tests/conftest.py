"""What all tests share: shape checks at run time, calm threads, seeds and small recordings."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from jaxtyping import install_import_hook
from numpy.typing import NDArray

# Every call to a function of ours is checked against its annotations, shapes and all: before any import of querysep.
install_import_hook("querysep", "shape_checks.check")

WriteTone = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def _two_threads() -> None:
    import torch

    torch.set_num_threads(2)


@pytest.fixture
def seeded() -> None:
    """Set torch's and numpy's seeds, for tests whose code draws random numbers."""
    import torch

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002


def tone(
    seconds: float, sample_rate: int, channels: int, frequency_hz: float = 440.0, gain: float = 0.3
) -> NDArray[np.float64]:
    """A tone that swells and ebbs, with a little noise; shape (time, channel)."""
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * 1.5 * time_s)
    noise = np.random.default_rng(7).standard_normal((len(time_s), channels)) * 0.01
    phases = np.arange(channels) * 0.5
    return gain * swell[:, None] * np.sin(2 * np.pi * frequency_hz * time_s[:, None] + phases) + noise


@pytest.fixture
def write_tone(tmp_path: Path) -> WriteTone:
    """A function that writes a small recording below the test's folder and returns its path."""

    def write(
        name: str = "mixture.wav",
        *,
        seconds: float = 1.0,
        sample_rate: int = 32_000,
        channels: int = 1,
        frequency_hz: float = 440.0,
        gain: float = 0.3,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(seconds, sample_rate, channels, frequency_hz, gain), sample_rate)
        return path

    return write
