"""Recordings in memory, and the clips that our own data sets are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from querysep.data.manifest import Clip
from querysep.data.recordings import Recordings
from querysep.errors import DataError, QuerysepError
from querysep.progress import Progress, silent

MOST_BYTES = 6 * 2**30
MOST_UNREADABLE = 0.05  # of the clips
_NAMED = 10


@dataclass(frozen=True)
class ClipBank:
    """Clips with their sound in memory, 16 bits; see ``Recordings``.

    Attributes:
        clips: the manifest's rows.
        samples: of each clip, shape (time,), int16.
        sample_rate: in Hz.
        unreadable: paths of clips that are left out, and why.
    """

    clips: tuple[Clip, ...]
    samples: tuple[NDArray[np.int16], ...]
    sample_rate: int
    unreadable: tuple[tuple[str, str], ...] = ()

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Return sound of a clip, see ``Recordings.read``."""
        return self.samples[index][start : None if count is None else start + count]


def hold(
    recordings: Recordings,
    keep: Callable[[Clip], bool],
    most_bytes: int = MOST_BYTES,
    progress: Progress = silent,
    unreadable: Sequence[tuple[str, str]] = (),
) -> "ClipBank | ReplacingRecordings":
    """Read the clips that will be needed into memory, if they fit; those that cannot be read are left out.

    Args:
        recordings: of any layout.
        keep: says which clips will be needed.
        most_bytes: more are left where they are, and are read at each use.
        progress: called after each clip.
        unreadable: paths of clips that are known to be unreadable and not among the recordings, and why.

    Returns:
        The chosen clips in memory; or all of them where they are, and others in the place of unreadable ones.

    Raises:
        DataError: more than 5 % of the clips, and more than one, cannot be read; or none is needed.
    """
    chosen = [(index, clip) for index, clip in enumerate(recordings.clips) if keep(clip)]
    if not chosen:
        raise DataError("The data set has no clips to train on: none in the split 'train' that is not held out.")
    if sum(2 * clip.duration_s * recordings.sample_rate for _, clip in chosen) > most_bytes:
        _check_unreadable(unreadable, len(recordings.clips) + len(unreadable))
        return ReplacingRecordings(recordings, unreadable)
    clips, samples, problems = [], [], list(unreadable)
    for done, (index, clip) in enumerate(chosen):
        progress(done, len(chosen), "reading clips")
        try:
            samples.append(recordings.read(index))
        except QuerysepError as error:
            problems.append((clip.path, str(error)))
            continue
        clips.append(clip)
    _check_unreadable(problems, len(chosen) + len(unreadable))
    return ClipBank(tuple(clips), tuple(samples), recordings.sample_rate, tuple(problems))


class ReplacingRecordings:
    """Recordings too large for memory; a clip that cannot be read gives the sound of another one with its labels.

    Args:
        recordings: read at each use.
        unreadable: paths of clips that are known to be unreadable and not among the recordings, and why.
    """

    def __init__(self, recordings: Recordings, unreadable: Sequence[tuple[str, str]] = ()) -> None:
        self._recordings = recordings
        self.unreadable = tuple(unreadable)
        self._broken: dict[int, str] = {}
        self._instead: dict[int, int] = {}

    @property
    def clips(self) -> Sequence[Clip]:
        """The rows."""
        return self._recordings.clips

    @property
    def sample_rate(self) -> int:
        """Of all that is read, in Hz."""
        return self._recordings.sample_rate

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of a clip, or of the next one that has its labels; see ``Recordings.read``.

        Raises:
            DataError: more than 5 % of the clips, and more than one, could not be read, or no other one has the labels.
        """
        while True:
            other = self._instead.get(index, index)
            try:
                return self._recordings.read(other, start if other == index else 0, count)
            except QuerysepError as error:
                self._broken[other] = str(error)
            problems = [(self.clips[place].path, why) for place, why in self._broken.items()]
            _check_unreadable([*self.unreadable, *problems], len(self.clips) + len(self.unreadable))
            self._instead[index] = self._next_like(index)

    def _next_like(self, index: int) -> int:
        clip, total = self.clips[index], len(self.clips)
        for place in range(index + 1, index + total):
            other = place % total
            if other not in self._broken and _is_like(self.clips[other], clip):
                return other
        raise DataError(
            f"'{clip.path}' cannot be read ({self._broken[index]}), nor any other clip of '{clip.labels[0]}'."
        )


def _is_like(one: Clip, other: Clip) -> bool:
    return one.labels == other.labels and one.split == other.split and one.held_out == other.held_out


def _check_unreadable(problems: Sequence[tuple[str, str]], total: int) -> None:
    """Raise where too many clips cannot be read, naming them."""
    if len(problems) <= max(1, MOST_UNREADABLE * total):
        return
    named = "; ".join(f"{path}: {why.rstrip('.')}" for path, why in problems[:_NAMED])
    more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    raise DataError(
        f"{len(problems)} of {total} clips cannot be read, more than {MOST_UNREADABLE:.0%}: {named}{more}. Mend or "
        "remove them; `querysep data check` lists all."
    )


def read_clip(path: Path, sample_rate: int) -> NDArray[np.int16]:
    """Read a mono clip as int16.

    Raises:
        DataError: unreadable, of another rate, or not mono.
    """
    try:
        samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    except (OSError, soundfile.LibsndfileError) as error:
        raise DataError(f"The clip '{path}' cannot be read ({error}). Build the data set again.") from error
    if rate != sample_rate or samples.shape[1] != 1:
        raise DataError(f"The clip '{path}' has {samples.shape[1]} channels at {rate} Hz; want mono at {sample_rate}.")
    mono: NDArray[np.int16] = samples[:, 0]
    return mono
