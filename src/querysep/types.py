"""The shared nouns: audio in memory and a span of time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from querysep.errors import AudioError

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Audio:
    """Samples with their rate.

    Attributes:
        samples: shape (channel, time), float32, nominally in -1..1.
        sample_rate: in Hz.
    """

    samples: FloatArray
    sample_rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.dtype != np.float32:
            raise AudioError(
                f"Audio takes float32 samples of shape (channel, time); got {self.samples.dtype} of shape "
                f"{self.samples.shape}. Use Audio.of() to convert."
            )
        if self.sample_rate <= 0:
            raise AudioError(f"The sample rate must be positive; got {self.sample_rate}.")

    @classmethod
    def of(cls, samples: Any, sample_rate: int) -> "Audio":
        """Make audio from what a caller has: numpy or torch, (time,) or (channel, time).

        Args:
            samples: floating-point array or tensor, shape (time,) or (channel, time).
            sample_rate: in Hz.

        Returns:
            Audio with its own float32 copy where a conversion was needed.

        Raises:
            AudioError: integer samples, more than two axes, NaN or infinite values, no samples, or channels last.
        """
        if hasattr(samples, "detach"):
            tensor = samples.detach().cpu()
            samples = (tensor.float() if tensor.is_floating_point() else tensor).numpy()  # numpy knows no bfloat16
        array = np.asarray(samples)
        if not np.issubdtype(array.dtype, np.floating):
            raise AudioError(
                f"Samples must be floating point in -1..1; got {array.dtype}. Divide integers by full scale."
            )
        if array.ndim == 1:
            array = array[None, :]
        if array.ndim != 2:
            raise AudioError(f"Samples must have shape (time,) or (channel, time); got {array.shape}.")
        if array.shape[1] == 0 or array.shape[0] == 0:
            raise AudioError(f"There are no samples: shape {array.shape}.")
        if array.shape[0] > 64 and array.shape[0] > array.shape[1]:
            raise AudioError(f"Shape {array.shape} looks like (time, channel); transpose it to (channel, time).")
        if not np.isfinite(array).all():
            raise AudioError("The samples hold NaN or infinite values. Repair the recording first.")
        return cls(np.ascontiguousarray(array, dtype=np.float32), int(sample_rate))

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return float(self.samples.shape[1] / self.sample_rate)

    @property
    def mono(self) -> FloatArray:
        """The mean of the channels, shape (time,)."""
        mean: FloatArray = self.samples.mean(axis=0, dtype=np.float32)
        return mean

    def save(self, path: str | Path) -> None:
        """Write a WAV (32-bit float) or FLAC (24-bit) file, by the name's ending; whole or not at all.

        Raises:
            OutputError: the folder cannot be written to or the disk is full.
            AudioError: FLAC was asked for and the samples exceed full scale.
        """
        from querysep.io.audio_writer import save_audio  # the border stands above the nouns; only this method crosses

        save_audio(Path(path), self.samples, self.sample_rate)
