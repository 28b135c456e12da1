"""Clips of a split in memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from querysep.data.manifest import Clip, Split, read_manifest
from querysep.errors import DataError
from querysep.progress import Progress, silent


@dataclass(frozen=True)
class ClipBank:
    """Clips of one split, 16 bits, with their samples.

    Attributes:
        clips: the manifest's rows.
        samples: of each clip, shape (time,), int16.
        labels: all labels that occur, sorted: the detector's classes.
        sample_rate: in Hz.
    """

    clips: tuple[Clip, ...]
    samples: tuple[NDArray[np.int16], ...]
    labels: tuple[str, ...]
    sample_rate: int

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Return sound of a clip, see ``Recordings.read``."""
        return self.samples[index][start : None if count is None else start + count]


def load_clips(
    manifest: Path, split: Split | None, sample_rate: int, progress: Progress = silent, *, held_out: bool = False
) -> ClipBank:
    """Read all clips of a split, or of a whole data set, into memory, without the held-out classes unless asked.

    Raises:
        DataError: no clips, a file that cannot be read, or one of another rate or with several channels.
    """
    clips = tuple(
        clip for clip in read_manifest(manifest) if split in (None, clip.split) and (held_out or not clip.held_out)
    )
    if not clips:
        raise DataError(f"'{manifest}' has no clips in the split '{split}'.")
    samples = []
    for index, clip in enumerate(clips):
        progress(index, len(clips), "reading clips")
        samples.append(read_clip(manifest.parent / clip.path, sample_rate))
    labels = tuple(sorted({label for clip in clips for label in clip.labels}))
    return ClipBank(clips, tuple(samples), labels, sample_rate)


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
