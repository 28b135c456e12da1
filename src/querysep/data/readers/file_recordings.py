"""Clips that are audio files, or stretches of them; decoded when they are read."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from querysep.data.readers.clip_table import ClipTable
from querysep.data.readers.sound import duration_s, read_part, read_whole
from querysep.errors import DataError

_SLACK_S = 1.5  # people cut and encode segments loosely


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
