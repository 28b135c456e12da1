"""A mixture, wherever it is: a file read in blocks, or samples in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from querysep.errors import AudioError
from querysep.io.audio_reader import READ_BLOCK, AudioReader, read_span
from querysep.types import Audio, FloatArray


class MixtureSource:
    """One face for files and memory; it can be read more than once.

    Args:
        mixture: a path, Audio, or an array or tensor of shape (time,) or (channel, time).
        sample_rate: of an array or tensor, in Hz.

    Attributes:
        path: the file, or None.
        sample_rate: in Hz.
        channels: how many.
        approximate_samples: length in samples a channel, exact where known; None where it cannot be told.
        may_exceed_full_scale: False where the samples surely lie in -1..1.

    Raises:
        AudioError: the mixture cannot be used.
    """

    def __init__(self, mixture: Any, sample_rate: int | None = None) -> None:
        self.path: Path | None = None
        self._audio: Audio | None = None
        if isinstance(mixture, str | Path):
            self.path = Path(mixture)
            with AudioReader(self.path) as reader:
                self.sample_rate, self.channels = reader.sample_rate, reader.channels
                self.approximate_samples = reader.approximate_samples
                self.may_exceed_full_scale = reader.may_exceed_full_scale
            return
        self._audio = as_audio(mixture, sample_rate)
        self.sample_rate, self.channels = self._audio.sample_rate, self._audio.samples.shape[0]
        self.approximate_samples = self._audio.samples.shape[1]
        self.may_exceed_full_scale = True

    def blocks(self) -> Iterator[FloatArray]:
        """Give the mixture from its beginning in blocks of shape (channel, time).

        Raises:
            AudioError: the file turns out damaged, truncated or not finite.
        """
        if self._audio is not None:
            for start in range(0, self._audio.samples.shape[1], READ_BLOCK):
                yield self._audio.samples[:, start : start + READ_BLOCK]
            return
        assert self.path is not None
        with AudioReader(self.path) as reader:
            yield from reader.blocks()

    def read_span(self, onset_s: float, offset_s: float) -> Audio:
        """Give the samples between two times in seconds; fewer, or none, beyond the end.

        Raises:
            AudioError: the file turns out damaged.
        """
        if self._audio is not None:
            start, stop = round(onset_s * self.sample_rate), round(offset_s * self.sample_rate)
            return Audio(self._audio.samples[:, start:stop], self.sample_rate)
        assert self.path is not None
        return read_span(self.path, onset_s, offset_s)


def as_audio(samples: Any, sample_rate: int | None) -> Audio:
    """Turn what a caller holds in memory into checked Audio.

    Args:
        samples: Audio, or an array or tensor of shape (time,) or (channel, time).
        sample_rate: of an array or tensor, in Hz.

    Raises:
        AudioError: as `Audio.of`, or an array came without its rate.
    """
    if isinstance(samples, Audio):
        return Audio.of(samples.samples, samples.sample_rate)
    if sample_rate is None:
        raise AudioError("Samples need their rate: give sample_rate=..., or Audio.of(samples, sample_rate).")
    return Audio.of(samples, sample_rate)
