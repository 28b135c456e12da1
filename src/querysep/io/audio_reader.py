"""Recordings in: any file that libsndfile or PyAV can decode, in blocks of float32 samples."""

import re
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import soundfile

from querysep.dsp.downmix import StreamingDownmix
from querysep.errors import AudioError
from querysep.io.av_decoder import AvDecoder
from querysep.io.files import system_name
from querysep.types import Audio, FloatArray

READ_BLOCK = 65_536  # samples a channel; the result never depends on it
_LIBSNDFILE_ENDINGS = (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au")
_MORE_ENDINGS = (
    ".caf",
    ".w64",
    ".rf64",
    ".m4a",
    ".mp4",
    ".m4v",
    ".aac",
    ".wma",
    ".mka",
    ".mkv",
    ".mov",
    ".webm",
    ".avi",
)
AUDIO_ENDINGS = frozenset(_LIBSNDFILE_ENDINGS + _MORE_ENDINGS)
_CUT_HEADER = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFF_F000  # writers to a pipe leave a size of about 2 or 4 GiB in the header
_UNKNOWN_SAMPLES = 2**50
_OGG_TAIL_S = 6.0  # longer than the last page of an Ogg file
_MP3_SLACK = 8_192  # samples: encoder delay and padding, which headers count in different ways


class AudioReader:
    """One open recording; use it in a ``with`` block.

    Attributes:
        path: the file.
        sample_rate: in Hz.
        channels: how many.
        samples: length in samples a channel, or None where only decoding tells (PyAV).
        approximate_samples: the same, or the container's own estimate, or None.
        may_exceed_full_scale: False for integer PCM, whose samples cannot leave -1..1.

    Raises:
        AudioError: the file is missing, a folder, empty, not audio, truncated or without samples.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        _check_is_file(self.path)
        self._sound: soundfile.SoundFile | None = None
        self._av: AvDecoder | None = None
        self.samples: int | None = None
        try:
            self._sound = soundfile.SoundFile(system_name(self.path))
        except (soundfile.LibsndfileError, TypeError):  # TypeError: the ending .raw asks for a description
            self._open_with_av()
        else:
            self._open_with_libsndfile(self._sound)

    def _open_with_libsndfile(self, sound: soundfile.SoundFile) -> None:
        self.sample_rate, self.channels = int(sound.samplerate), int(sound.channels)
        self.may_exceed_full_scale = not str(sound.subtype).startswith(("PCM", "ULAW", "ALAW", "ALAC"))
        try:
            _check_complete(self.path, sound)
            if sound.frames == 0:
                raise AudioError(f"'{self.path}' holds no samples (length 0). Record or export it again.")
        except AudioError:
            sound.close()
            raise
        self.samples = int(sound.frames) if sound.frames < _UNKNOWN_SAMPLES else None
        self.approximate_samples = self.samples

    def _open_with_av(self) -> None:
        self._av = AvDecoder(self.path)
        self.sample_rate, self.channels = self._av.sample_rate, self._av.channels
        self.approximate_samples = self._av.approximate_samples
        self.may_exceed_full_scale = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back; may be called twice."""
        if self._sound is not None:
            self._sound.close()
        if self._av is not None:
            self._av.close()

    def blocks(self, size: int = READ_BLOCK, start: int = 0) -> Iterator[FloatArray]:
        """Decode from ``start`` to the end. Call it once for each open reader.

        Args:
            size: samples a channel in a block, > 0; the last block may be shorter.
            start: first sample to give, >= 0.

        Yields:
            Blocks of shape (channel, time), float32.

        Raises:
            AudioError: the recording turns out truncated, damaged, without samples, or holds NaN or infinite values.
        """
        position = start
        for block in self._sound_blocks(size, start) if self._sound is not None else self._av_blocks(size, start):
            if not np.isfinite(block).all():
                at_s = position / self.sample_rate
                raise AudioError(
                    f"'{self.path}' holds NaN or infinite samples (at about {at_s:.1f} s). Repair the recording first."
                )
            position += block.shape[1]
            yield block
        if position == start == 0:
            raise AudioError(f"'{self.path}' holds no samples (length 0). Record or export it again.")

    def _to_decode_first(self, start: int) -> int:
        """Return how many samples before ``start`` to decode and forget.

        libsndfile 1.2.2 seeks wrongly into the last page of an Ogg file; from before that page it decodes rightly.
        """
        assert self._sound is not None
        if self._sound.format != "OGG":
            return 0
        samples = int(self._sound.frames)
        return max(0, min(start, samples) - max(0, samples - round(_OGG_TAIL_S * self.sample_rate)))

    def _sound_blocks(self, size: int, start: int) -> Iterator[FloatArray]:
        assert self._sound is not None
        position = start
        try:
            if start:
                before = self._to_decode_first(start)
                self._sound.seek(min(start, self._sound.frames) - before)
                self._sound.read(before, dtype="float32")
            while True:
                block = self._sound.read(size, dtype="float32", always_2d=True)
                if not len(block):
                    break
                position += len(block)
                yield np.ascontiguousarray(block.T)
        except soundfile.LibsndfileError as error:
            raise AudioError(_truncated(self.path, f"decoding stops after {position} samples")) from error
        slack = _MP3_SLACK if self._sound.format in ("MP3", "MPEG") else 0
        if self.samples is not None and start < self.samples and position + slack < self.samples:
            raise AudioError(_truncated(self.path, f"the header promises {self.samples} samples, we got {position}"))

    def _av_blocks(self, size: int, start: int) -> Iterator[FloatArray]:
        assert self._av is not None
        skip = start
        for block in self._av.blocks(size):
            if skip >= block.shape[1]:
                skip -= block.shape[1]
                continue
            yield block[:, skip:]
            skip = 0


def read_audio(path: str | Path, max_s: float | None = None, *, mono: bool = False) -> Audio:
    """Read a recording, or its beginning, into memory.

    Args:
        path: the file.
        max_s: stop after this many seconds; None reads all.
        mono: average the channels while reading.

    Returns:
        The samples at the file's own rate.

    Raises:
        AudioError: as `AudioReader`.
    """
    with AudioReader(path) as reader:
        stop_s = float("inf") if max_s is None else max_s
        return Audio(_collect(reader, 0, stop_s * reader.sample_rate, mono=mono), reader.sample_rate)


def read_span(path: str | Path, onset_s: float, offset_s: float) -> Audio:
    """Read one span of a recording, without holding the rest.

    Args:
        path: the file.
        onset_s: first second wanted, >= 0.
        offset_s: where to stop, in seconds.

    Returns:
        The samples of the span at the file's own rate; shape (channel, 0) where the file ends before ``onset_s``.

    Raises:
        AudioError: as `AudioReader`.
    """
    with AudioReader(path) as reader:
        start, stop = round(onset_s * reader.sample_rate), round(offset_s * reader.sample_rate)
        if reader.samples is not None and start >= reader.samples:
            return Audio(np.zeros((reader.channels, 0), np.float32), reader.sample_rate)
        return Audio(_collect(reader, start, stop - start), reader.sample_rate)


def _collect(reader: AudioReader, start: int, wanted: float, *, mono: bool = False) -> FloatArray:
    parts: list[FloatArray] = []
    mixer = StreamingDownmix(reader.sample_rate, reader.channels)
    for block in reader.blocks(start=start):
        part = block[:, : int(min(wanted, block.shape[1]))]
        parts.append(mixer.push(part)[None] if mono else part)
        wanted -= block.shape[1]
        if wanted <= 0:
            break
    parts += [mixer.finish()[None]] if mono else []
    return np.concatenate(parts, axis=1) if parts else np.zeros((reader.channels, 0), np.float32)


def _check_is_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise AudioError(f"'{path}' is a folder; give one audio file.")
        if not path.exists():
            raise AudioError(f"There is no file '{path}'. Check the name and the folder.")
        if not path.is_file():
            raise AudioError(f"'{path}' is a pipe or device, not a file. Write the sound into a file first.")
        if path.stat().st_size == 0:
            raise AudioError(f"'{path}' is empty (0 bytes). Copy or record it again.")
        with path.open("rb"):
            pass
    except OSError as error:
        raise AudioError(f"'{path}' cannot be opened: {error.strerror}. Check its permissions.") from error


def _truncated(path: Path, how: str) -> str:
    return f"'{path}' is truncated or damaged: {how}. Copy or download it again."


def _check_complete(path: Path, sound: soundfile.SoundFile) -> None:
    """Raise where the container itself says that its end is missing."""
    header = _CUT_HEADER.search(sound.extra_info)
    if header and int(header[2]) < int(header[1]) < _UNKNOWN_SIZE:
        raise AudioError(_truncated(path, f"its header promises {header[1]} bytes of sound, the file has {header[2]}"))
    if sound.format == "FLAC" and 0 < sound.frames < _UNKNOWN_SAMPLES:
        try:
            sound.seek(sound.frames - 1)
            sound.seek(0)
        except soundfile.LibsndfileError as error:
            raise AudioError(_truncated(path, f"the last of its {sound.frames} samples cannot be reached")) from error
    if sound.format == "OGG" and not _ogg_ends(path):
        raise AudioError(_truncated(path, "its last Ogg page is missing"))


def _ogg_ends(path: Path) -> bool:
    """Whether the last page is whole and carries the end-of-stream mark (RFC 3533, section 6)."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 2 * 65_307))  # 65,307 bytes: the largest page
        tail = file.read()
    at = tail.rfind(b"OggS")
    if at < 0 or len(tail) < at + 27 or not tail[at + 5] & 4:
        return False
    segments = tail[at + 27 : at + 27 + tail[at + 26]]
    return len(segments) == tail[at + 26] and len(tail) - at - 27 - len(segments) >= sum(segments)
