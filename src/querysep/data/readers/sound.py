"""Parts of a recording in any format, as mono 16-bit sound of the rate that is asked for."""

from math import gcd
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from querysep.errors import AudioError, DataError
from querysep.io.audio_reader import AudioReader

_EDGE = 4_096  # samples of the recording on either side of a part that feed the resampler's filter
_FULL_SCALE = 32_768
_OGG_TAIL_S = 6.0  # libsndfile 1.2.2 seeks wrongly into the last page of an Ogg file; decode on from before it


def duration_s(path: Path) -> float:
    """Return how long a recording is by its header.

    Args:
        path: the file.

    Raises:
        DataError: the file cannot be read, or holds nothing.
    """
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, OSError, TypeError):
        try:
            with AudioReader(path) as reader:
                samples, rate = reader.approximate_samples, reader.sample_rate
        except AudioError as error:
            raise DataError(str(error)) from error
    else:
        samples, rate = int(info.frames), int(info.samplerate)
    if samples is None:
        raise DataError(f"'{path}' does not say how long it is. Convert it to WAV or FLAC.")
    if samples <= 0:
        raise DataError(f"'{path}' holds no samples (length 0). Record or export it again.")
    return samples / rate


def read_part(
    path: Path, begin_s: float, length_s: float, sample_rate: int, start: int = 0, count: int | None = None
) -> NDArray[np.int16]:
    """Read a part of a clip that is itself a part of a recording.

    Only the part is decoded where libsndfile reads the format; what PyAV reads is decoded from its beginning.

    Args:
        path: the recording.
        begin_s: where the clip begins in it.
        length_s: of the clip.
        sample_rate: of the result, Hz.
        start: first sample wanted, counted in the clip at ``sample_rate``.
        count: samples wanted; None for all that are left.

    Returns:
        Mono samples (the mean of the channels, clamped to 16 bits), shape (time,); fewer where the clip or the
        recording ends.

    Raises:
        DataError: the recording cannot be read, is damaged, or holds values that are no numbers.
    """
    try:
        sound = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError, TypeError):
        return _read_by_av(path, begin_s, length_s, sample_rate, start, count)
    with sound:
        rate = int(sound.samplerate)
        begin = round(begin_s * rate)
        length = max(0, min(round(length_s * rate), int(sound.frames) - begin))
        part = Part.of(rate, sample_rate, length, start, count)
        if part.samples == 0:
            return np.zeros(0, np.int16)
        exact = rate == sample_rate and sound.channels == 1 and sound.subtype == "PCM_16"
        first = begin + part.first
        before = max(0, first - max(0, sound.frames - round(_OGG_TAIL_S * rate))) if sound.format == "OGG" else 0
        try:
            sound.seek(first - before)
            wanted = before + part.last - part.first
            block = sound.read(wanted, dtype="int16" if exact else "float32", always_2d=True)[before:]
        except (soundfile.SoundFileError, OSError) as error:
            raise DataError(f"'{path}' is truncated or damaged: {error}. Copy or download it again.") from error
    if exact:
        whole: NDArray[np.int16] = block[:, 0]
        return whole
    return part.finish(path, block.mean(axis=1, dtype=np.float32))


def read_whole(path: Path, sample_rate: int) -> NDArray[np.int16]:
    """Read a whole recording, with every check that we have.

    Raises:
        DataError: missing, not audio, truncated, empty, or holding values that are no numbers.
    """
    try:
        with AudioReader(path) as reader:
            mono = np.concatenate([block.mean(axis=0, dtype=np.float32) for block in reader.blocks()])
            rate = reader.sample_rate
    except AudioError as error:
        raise DataError(str(error)) from error
    return Part.of(rate, sample_rate, mono.shape[0], 0, None).finish(path, mono)


class Part:
    """Which samples of a recording make a part at another rate.

    The two rates meet every ``rate / gcd`` samples: cut there, a resampled part has the very samples of the
    resampled whole.

    Attributes:
        first: first sample of the clip to decode.
        last: where to stop.
        samples: of the part, at the wanted rate.
    """

    def __init__(self, rate: int, sample_rate: int, first: int, last: int, skip: int, samples: int) -> None:
        self._rate, self._sample_rate, self._skip = rate, sample_rate, skip
        self.first, self.last, self.samples = first, last, samples

    @classmethod
    def of(cls, rate: int, sample_rate: int, length: int, start: int, count: int | None) -> "Part":
        """Find the part.

        Args:
            rate: of the recording, Hz.
            sample_rate: wanted, Hz.
            length: of the clip, in samples of the recording.
            start: first sample wanted.
            count: samples wanted; None for all that are left.
        """
        left = max(0, -(-length * sample_rate // rate) - start)
        samples = left if count is None else min(count, left)
        if rate == sample_rate:
            return cls(rate, sample_rate, start, start + samples, 0, samples)
        common = gcd(rate, sample_rate)
        before, after = rate // common, sample_rate // common
        edge = -(-_EDGE // before)
        first = max(0, start // after - edge)
        last = min(length, (-(-(start + samples) // after) + edge) * before)
        return cls(rate, sample_rate, first * before, last, start - first * after, samples)

    def finish(self, path: Path, mono: NDArray[np.float32]) -> NDArray[np.int16]:
        """Resample what was decoded and round it to 16 bits.

        Raises:
            DataError: it holds values that are no numbers.
        """
        if not np.isfinite(mono).all():
            raise DataError(f"'{path}' holds NaN or infinite samples. Repair the recording first.")
        if self._rate != self._sample_rate and mono.size:
            mono = soxr.resample(mono, self._rate, self._sample_rate, quality="HQ")
        wanted = mono[self._skip : self._skip + self.samples]
        return np.clip(np.rint(wanted * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1).astype(np.int16)


def _read_by_av(
    path: Path, begin_s: float, length_s: float, sample_rate: int, start: int, count: int | None
) -> NDArray[np.int16]:
    try:
        with AudioReader(path) as reader:
            rate = reader.sample_rate
            part = Part.of(rate, sample_rate, round(length_s * rate), start, count)
            wanted = part.last - part.first
            blocks: list[NDArray[np.float32]] = []
            for block in reader.blocks(start=round(begin_s * rate) + part.first):
                blocks.append(block[:, :wanted].mean(axis=0, dtype=np.float32))
                wanted -= blocks[-1].shape[0]
                if wanted <= 0:
                    break
    except AudioError as error:
        raise DataError(str(error)) from error
    return part.finish(path, np.concatenate(blocks) if blocks else np.zeros(0, np.float32))
