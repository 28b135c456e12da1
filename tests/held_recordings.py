"""A data set whose second clip holds its first reader, so that this one can be killed at a known point."""

import os
import threading
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from querysep.data.recordings import Recordings

_HELD = 1


class HeldRecordings:
    """Recordings of which one holds its first reader for ever; its readers' numbers lie as files in ``notes``."""

    def __init__(self, recordings: Recordings, notes: Path) -> None:
        self._recordings, self._notes = recordings, notes
        notes.mkdir()
        self.clips, self.sample_rate = recordings.clips, recordings.sample_rate

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of a clip, see ``Recordings.read``."""
        if index == _HELD:
            order = len(self.readers())
            (self._notes / f"{order} {os.getpid()}").touch()
            if order == 0:
                threading.Event().wait()
        return self._recordings.read(index, start, count)

    def readers(self) -> list[int]:
        """Return the processes that have read the held clip, in their order."""
        return [int(path.name.split()[1]) for path in sorted(self._notes.iterdir())]

    def wait(self) -> int:
        """Return the process that is held, once there is one."""
        while not self.readers():
            time.sleep(0.01)
        return self.readers()[0]
