"""Recordings out: WAV of 32-bit float or FLAC of 24 bits, in blocks, never clipped in silence."""

import errno
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

import numpy as np
import soundfile

from querysep.errors import AudioError, OutputError
from querysep.io.files import OutputSet, output_error, system_name
from querysep.types import FloatArray

AudioFormat = Literal["wav", "flac"]
FLAC_STEP = 2.0**-23
_RF64_BYTES = 4_000_000_000  # a plain WAV header counts to 4 GiB
_FLAC_CHANNELS, _FLAC_RATE = 8, 655_350


def check_format(audio_format: str, channels: int, sample_rate: int) -> AudioFormat:
    """Refuse early what a format cannot hold.

    Args:
        audio_format: "wav" or "flac".
        channels: how many.
        sample_rate: in Hz.

    Returns:
        The format.

    Raises:
        AudioError: the format is unknown, or FLAC cannot hold so many channels or such a rate.
    """
    if audio_format == "wav":
        return "wav"
    if audio_format != "flac":
        raise AudioError(f"'{audio_format}' cannot be written; use {' or '.join(get_args(AudioFormat))}.")
    if channels > _FLAC_CHANNELS or sample_rate > _FLAC_RATE:
        raise AudioError(
            f"FLAC holds up to {_FLAC_CHANNELS} channels and {_FLAC_RATE} Hz; got {channels} and {sample_rate}. "
            "Use wav."
        )
    return "flac"


class AudioWriter:
    """Write one recording block by block; use it in a ``with`` block.

    The file appears when the block ends well, whole; on any exception nothing is left. Within an `OutputSet`, give its
    temporary path as ``part``: the set then does the renaming.

    Args:
        path: where the file shall appear; also the name used in messages.
        sample_rate: in Hz.
        channels: how many.
        audio_format: "wav" (32-bit float) or "flac" (24-bit); None takes the name's ending.
        expected_samples: length to come, if known; decides whether a WAV needs the header for over 4 GB (RF64).
        overwrite: whether an existing file may be replaced.
        part: a temporary file that somebody else renames and deletes.

    Raises:
        OutputError: the output exists, its folder cannot be written to, or the disk is full.
        AudioError: the format cannot hold the samples.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        channels: int,
        audio_format: str | None = None,
        *,
        expected_samples: int | None = None,
        overwrite: bool = True,
        part: Path | None = None,
    ) -> None:
        self.path = Path(path)
        name = audio_format or (self.path.suffix.lower().lstrip(".") or "wav")
        self.audio_format = check_format("wav" if name == "wave" else name, channels, sample_rate)
        self._outputs = OutputSet(overwrite=overwrite) if part is None else None
        target = self._outputs.add(self.path) if self._outputs is not None else part
        assert target is not None
        container, subtype = ("FLAC", "PCM_24") if self.audio_format == "flac" else ("WAV", "FLOAT")
        if container == "WAV" and (expected_samples is None or expected_samples * channels * 4 > _RF64_BYTES):
            container = "RF64"
        try:
            self._sound = soundfile.SoundFile(
                system_name(target), "w", sample_rate, channels, subtype, format=container
            )
        except (soundfile.LibsndfileError, OSError) as error:
            self._abandon(error)
            raise self._write_error(error) from error

    def write(self, samples: FloatArray) -> None:
        """Append samples.

        Args:
            samples: shape (channel, time), float32.

        Raises:
            AudioError: FLAC, and the samples exceed full scale.
            OutputError: the disk is full or the file cannot be written.
        """
        if self.audio_format == "flac" and samples.size and float(np.abs(samples).max()) > 1:
            raise AudioError(
                f"The samples for '{self.path}' exceed full scale (peak {np.abs(samples).max():.3f}); "
                "FLAC would clip them. Use wav."
            )
        try:
            self._sound.write(np.ascontiguousarray(samples.T))
        except (soundfile.LibsndfileError, OSError, AssertionError) as error:  # soundfile asserts on a short write
            raise self._write_error(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._sound.close()
        except (soundfile.LibsndfileError, OSError) as problem:
            self._abandon(problem)
            if kind is None:
                raise self._write_error(problem) from problem
            return
        if self._outputs is not None:
            self._outputs.__exit__(kind, error, trace)

    def _abandon(self, error: BaseException) -> None:
        if self._outputs is not None:
            self._outputs.__exit__(type(error), error, None)

    def _write_error(self, error: BaseException) -> OutputError:
        if isinstance(error, OSError):
            return output_error(self.path, error)
        # libsndfile hides the system's word; a write that fails on an open file is a full disk nearly always
        return output_error(self.path, OSError(errno.ENOSPC, str(error)))


def save_audio(path: str | Path, samples: FloatArray, sample_rate: int, *, overwrite: bool = True) -> None:
    """Write a recording, whole or not at all; the format follows the name's ending.

    Args:
        path: the file, ending in .wav (32-bit float) or .flac (24-bit).
        samples: shape (channel, time), float32.
        sample_rate: in Hz.
        overwrite: whether an existing file may be replaced.

    Raises:
        OutputError: the folder cannot be written to, the disk is full, or the output exists and may not be replaced.
        AudioError: another ending, or FLAC was asked for and the samples exceed full scale.
    """
    channels, total = samples.shape
    with AudioWriter(path, sample_rate, channels, expected_samples=total, overwrite=overwrite) as writer:
        for start in range(0, total, 65_536):
            writer.write(samples[:, start : start + 65_536])


def fit_to_flac(mixture: FloatArray, target: FloatArray) -> tuple[FloatArray, int]:
    """Bring a target onto FLAC's 24-bit grid so that it and the residual stay within full scale.

    Since the mixture lies in -1..1, a target within [max(-1, m - 1), min(1, m + 1)] leaves a residual m - t that does
    too; their sum is still the mixture. Full scale is one step below 1 on the positive side.

    Args:
        mixture: shape (channel, time), in -1..1.
        target: same shape.

    Returns:
        The target to write, and how many of its samples had to be limited.
    """
    top = 1 - FLAC_STEP
    whole, wanted = mixture.astype(np.float64), target.astype(np.float64)
    # In steps of the grid, inwards: rounding a limit to the nearest step could push the residual over full scale.
    lowest = np.ceil(np.maximum(-1.0, whole - top) / FLAC_STEP)
    highest = np.floor(np.minimum(top, whole + 1.0) / FLAC_STEP)
    on_grid = np.clip(np.round(wanted / FLAC_STEP), lowest, highest) * FLAC_STEP
    over = np.abs(on_grid - wanted) > FLAC_STEP
    return on_grid.astype(np.float32), int(over.sum())
