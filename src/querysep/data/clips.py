"""Recordings in memory, and the clips that our own data sets are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from querysep.data.manifest import Clip
from querysep.data.recordings import Recordings
from querysep.errors import DataError
from querysep.progress import Progress, silent

MOST_BYTES = 6 * 2**30


@dataclass(frozen=True)
class ClipBank:
    """Clips with their sound in memory, 16 bits; see ``Recordings``.

    Attributes:
        clips: the manifest's rows.
        samples: of each clip, shape (time,), int16.
        sample_rate: in Hz.
    """

    clips: tuple[Clip, ...]
    samples: tuple[NDArray[np.int16], ...]
    sample_rate: int

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Return sound of a clip, see ``Recordings.read``."""
        return self.samples[index][start : None if count is None else start + count]


def hold(
    recordings: Recordings, keep: Callable[[Clip], bool], most_bytes: int = MOST_BYTES, progress: Progress = silent
) -> Recordings:
    """Read the clips that will be needed into memory, if they fit.

    Args:
        recordings: of any layout.
        keep: says which clips will be needed.
        most_bytes: more are left where they are, and are read at each use.
        progress: told after each clip.

    Returns:
        The chosen clips in memory; or ``recordings`` as it is.

    Raises:
        DataError: a clip cannot be read, or none is needed.
    """
    chosen = [(index, clip) for index, clip in enumerate(recordings.clips) if keep(clip)]
    if not chosen:
        raise DataError("The data set has no clips to train on: none in the split 'train' that is not held out.")
    if sum(2 * clip.duration_s * recordings.sample_rate for _, clip in chosen) > most_bytes:
        return recordings
    samples = []
    for done, (index, _) in enumerate(chosen):
        progress(done, len(chosen), "reading clips")
        samples.append(recordings.read(index))
    return ClipBank(tuple(clip for _, clip in chosen), tuple(samples), recordings.sample_rate)


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
