"""A mixture, wherever it is: a file read in blocks, or samples in memory."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from querysep.errors import AudioError, OutputError
from querysep.io.audio_reader import READ_BLOCK, AudioReader, read_span
from querysep.types import Audio, FloatArray

STDIN = Path("-")


class MixtureSource:
    """One face for files, pipes and memory; it can be read more than once: a pipe is read into a temporary file.

    Args:
        mixture: a path, "-" for standard input, Audio, or an array or tensor of shape (time,) or (channel, time).
        sample_rate: of an array or tensor, in Hz.

    Attributes:
        path: the file or pipe, or None.
        sample_rate: in Hz.
        channels: how many.
        approximate_samples: length in samples a channel, exact where known; None where it cannot be told.
        may_exceed_full_scale: False where the samples surely lie in -1..1.

    Raises:
        AudioError: the mixture cannot be used.
        OutputError: a pipe holds more than the disk of temporary files.
    """

    def __init__(self, mixture: Any, sample_rate: int | None = None) -> None:
        self.path: Path | None = None
        self._audio: Audio | None = None
        if isinstance(mixture, str | Path):
            self.path = Path(mixture)
            self._spooled = _spooled(self.path)
            with self._reader() as reader:
                self.sample_rate, self.channels = reader.sample_rate, reader.channels
                self.approximate_samples = reader.approximate_samples
                self.may_exceed_full_scale = reader.may_exceed_full_scale
            return
        self._audio = as_audio(mixture, sample_rate)
        self._spooled = None
        self.sample_rate, self.channels = self._audio.sample_rate, self._audio.samples.shape[0]
        self.approximate_samples = self._audio.samples.shape[1]
        self.may_exceed_full_scale = True

    @property
    def readable(self) -> Audio | Path:
        """What can be opened again: the samples, the file, or the temporary file that a pipe was read into."""
        if self._audio is not None:
            return self._audio
        assert self.path is not None
        return self.path if self._spooled is None else Path(self._spooled.name)

    @contextmanager
    def _reader(self) -> Iterator[AudioReader]:
        path = self.readable
        assert isinstance(path, Path)
        try:
            with AudioReader(path) as reader:
                yield reader
        except AudioError as error:
            raise AudioError(str(error).replace(str(path), str(self.path))) from error

    def blocks(self) -> Iterator[FloatArray]:
        """Give the mixture from its beginning in blocks of shape (channel, time).

        Raises:
            AudioError: the file turns out damaged, truncated or not finite.
        """
        if self._audio is not None:
            for start in range(0, self._audio.samples.shape[1], READ_BLOCK):
                yield self._audio.samples[:, start : start + READ_BLOCK]
            return
        with self._reader() as reader:
            yield from reader.blocks()

    def read_span(self, onset_s: float, offset_s: float) -> Audio:
        """Give the samples between two times in seconds; fewer, or none, beyond the end.

        Raises:
            AudioError: the file turns out damaged.
        """
        if self._audio is not None:
            start, stop = round(onset_s * self.sample_rate), round(offset_s * self.sample_rate)
            return Audio(self._audio.samples[:, start:stop], self.sample_rate)
        path = self.readable
        assert isinstance(path, Path)
        return read_span(path, onset_s, offset_s)


def stem_of(path: Path) -> str:
    """Return what the results of a recording are named after: its name without the ending."""
    return "stdin" if path == STDIN else path.stem


def _spooled(path: Path) -> IO[bytes] | None:
    """Read standard input or a named pipe into a temporary file, which goes with its last user.

    Raises:
        AudioError: standard input is a terminal or closed, or the pipe cannot be opened.
        OutputError: there is no room.
    """
    if path == STDIN:
        if sys.stdin is None or sys.stdin.isatty():
            raise AudioError("'-' is standard input, and nothing comes from there. Send a recording: ... < FILE.")
        return _copied(sys.stdin.buffer, path)
    try:
        if not path.is_fifo():
            return None
        with path.open("rb") as pipe:
            return _copied(pipe, path)
    except OSError as error:
        raise AudioError(f"'{path}' cannot be opened: {error.strerror}. Check its permissions.") from error


def _copied(pipe: IO[bytes], name: Path) -> IO[bytes]:
    try:
        copy = tempfile.NamedTemporaryFile(prefix="querysep-")  # noqa: SIM115 - deleted with its source
        shutil.copyfileobj(pipe, copy, 1 << 20)
        copy.flush()
    except OSError as error:
        raise OutputError(
            f"'{name}' cannot be kept in '{tempfile.gettempdir()}': {error.strerror or error}. Free some space, or set "
            "TMPDIR to another folder."
        ) from error
    return copy


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
