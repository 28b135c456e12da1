"""Data sets of audio files: what was found in one, and its clips, decoded when they are read."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import gcd
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from querysep.data.manifest import ClipTable, Split
from querysep.dsp.downmix import StreamingDownmix, downmix
from querysep.errors import AudioError, DataError
from querysep.io.audio_reader import AudioReader
from querysep.io.files import results_among

ProblemKind = Literal["missing", "unreadable", "unlabelled", "row", "repeated"]

SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "dev", "development"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""How people name the splits, in small letters."""

_SLACK_S = 1.5  # people cut and encode segments loosely
_EDGE = 4_096  # samples of the recording on either side of a part that feed the resampler's filter
_FULL_SCALE = 32_768
_OGG_TAIL_S = 6.0  # libsndfile 1.2.2 seeks wrongly into the last page of an Ogg file; decode on from before it


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the data set that is not among the clips.

    Attributes:
        path: of the file, or of the list and its line; as in the data set.
        kind: missing or unreadable file, sound without a label, row that makes no sense, row that was there before.
        detail: what is wrong, in a sentence.
    """

    path: str
    kind: ProblemKind
    detail: str


@dataclass
class Found:
    """A data set as it was found: clips, and everything that could not be taken.

    Attributes:
        root: the folder that the clips' paths start from.
        clips: the clips.
        problems: what could not be taken.
        warnings: what was decided for the user, one sentence each.
        segments: files may be the segment or the longer recording that it was cut from; reading finds out.
    """

    root: Path
    clips: ClipTable = field(default_factory=ClipTable)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    segments: bool = False

    def leave_out(self, path: str, kind: ProblemKind, detail: str) -> None:
        """Note something that is not taken."""
        self.problems.append(Problem(path, kind, detail))


def in_words(names: Iterable[str], most: int = 8) -> str:
    """Return names joined by commas, the first few of many."""
    given = list(names)
    return ", ".join(given[:most]) + (f" and {len(given) - most} more" if len(given) > most else "")


def add_file(
    found: Found,
    path: str,
    labels: tuple[str, ...],
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    licence: str = "",
    source: str = "",
    origin: str | None = None,
    split: Split = "train",
    held_out: bool = False,
) -> None:
    """Add a file to what was found, its length from its header; note it as a problem where it cannot be read.

    Args:
        found: what to add to.
        path: relative to the root.
        labels: the most specific first.
        start_s: where the clip begins.
        end_s: where it ends; None: the file's end.
        licence: as in ``Clip``; so are the others.
        source: the same.
        origin: None: the file.
        split: the same.
        held_out: the same.
    """
    full = found.root / path
    if path != path.encode("utf-8", "replace").decode():  # the bytes of its name, kept as lone surrogates
        found.leave_out(path, "unreadable", "Its name is not UTF-8. Rename it.")
        return
    try:
        length_s = duration_s(full)
    except DataError as error:
        found.leave_out(path, "unreadable" if full.exists() else "missing", str(error))
        return
    if start_s >= length_s:
        found.leave_out(path, "row", f"The clip begins at {start_s:g} s, the file ends at {length_s:.2f} s.")
        return
    stop_s = length_s if end_s is None else min(end_s, length_s)
    found.clips.add(
        path,
        labels,
        stop_s - start_s,
        start_s=start_s,
        licence=licence,
        source=source,
        origin=origin,
        split=split,
        held_out=held_out,
    )


def name_parts(path: str) -> tuple[str, str]:
    """Return a file's name without its ending, and the ending in small letters with its dot; quick, for millions."""
    stem, dot, ending = path[path.rfind("/") + 1 :].rpartition(".")
    return (stem, f".{ending.lower()}") if dot and stem else (ending, "")


def walk(root: Path) -> Iterator[str]:
    """Give the files below a folder, relative to it and with '/', in order.

    Hidden ones, results of `separate` and `split`, and links to a folder that the link itself lies in are passed over.
    """
    stack = [""]
    while stack:
        prefix = stack.pop()
        folders = []
        try:
            with os.scandir(root / prefix if prefix else root) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"The folder '{root / prefix}' cannot be listed: {error.strerror}.") from error
        results = results_among(entry.name for entry in inside)
        for entry in inside:
            if entry.name.startswith(".") or entry.name == "__MACOSX" or entry.name in results:
                continue
            if _is_folder(entry):
                if not (entry.is_symlink() and _is_loop(Path(entry.path))):
                    folders.append(f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name
        stack.extend(reversed(folders))


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_loop(link: Path) -> bool:
    """Whether a link leads to a folder that its own path goes through."""
    return any(link.samefile(above) for above in link.absolute().parents)


class FileRecordings:
    """Clips in audio files; holds nothing open, so it may go to any worker process.

    Args:
        root: folder that the clips' paths start from.
        clips: the clips.
        sample_rate: of what ``read`` gives, Hz.
        segments: a file may be the segment alone, whatever its clip's ``start_s`` says.
    """

    def __init__(self, root: Path, clips: ClipTable, sample_rate: int, *, segments: bool = False) -> None:
        self.root = root
        self._clips, self._sample_rate, self._segments = clips, sample_rate, segments

    @property
    def clips(self) -> ClipTable:
        """The rows."""
        return self._clips

    @property
    def sample_rate(self) -> int:
        """Of all that is read, in Hz."""
        return self._sample_rate

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of a clip, see ``Recordings.read``."""
        clip = self._clips[index]
        path = self.root / clip.path
        begin_s, file_s = self._clips.stated_start_s(index), None
        if self._segments or (begin_s == 0 and start == 0 and count is None):
            file_s = duration_s(path)
        if self._segments and file_s is not None and is_cut(file_s, begin_s, clip.duration_s):
            begin_s = 0.0
        if file_s is not None and begin_s == 0 and start == 0 and count is None and file_s <= clip.duration_s + 0.01:
            return read_whole(path, self._sample_rate)
        if file_s is not None and begin_s >= file_s:
            raise DataError(f"'{path}' ends at {file_s:.1f} s, before its clip begins (at {begin_s:.1f} s).")
        return read_part(path, begin_s, clip.duration_s, self._sample_rate, start, count)


def is_cut(file_s: float, start_s: float, length_s: float) -> bool:
    """Say whether a file is a segment alone, and not the recording that the segment is in.

    Args:
        file_s: length of the file.
        start_s: where the segment begins in the whole recording.
        length_s: of the segment.
    """
    return start_s == 0 or file_s <= length_s + _SLACK_S or file_s <= start_s


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
        Mono samples (the downmix of the channels, clamped to 16 bits), shape (time,); fewer where the clip or the
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
    return part.finish(path, downmix(block.T, rate))


def read_whole(path: Path, sample_rate: int) -> NDArray[np.int16]:
    """Read a whole recording, with every check that we have.

    Raises:
        DataError: missing, not audio, truncated, empty, or holding values that are no numbers.
    """
    try:
        with AudioReader(path) as reader:
            rate = reader.sample_rate
            mixer = StreamingDownmix(rate, reader.channels)
            mono = np.concatenate([*(mixer.push(block) for block in reader.blocks()), mixer.finish()])
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
            mixer = StreamingDownmix(rate, reader.channels)
            blocks: list[NDArray[np.float32]] = []
            for block in reader.blocks(start=round(begin_s * rate) + part.first):
                blocks.append(mixer.push(block[:, :wanted]))
                wanted -= block.shape[1]
                if wanted <= 0:
                    break
            blocks.append(mixer.finish())
    except AudioError as error:
        raise DataError(str(error)) from error
    return part.finish(path, np.concatenate(blocks))
