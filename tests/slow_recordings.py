"""A data set that takes its time, so that a process that reads it can be killed meanwhile."""

import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from querysep.data.recordings import Recordings


class SlowRecordings:
    """Recordings of which each takes a moment; a file named as the process in ``pids`` tells who reads."""

    def __init__(self, recordings: Recordings, pids: Path) -> None:
        self._recordings, self._pids = recordings, pids
        pids.mkdir()
        self.clips, self.sample_rate = recordings.clips, recordings.sample_rate

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of a clip, see ``Recordings.read``."""
        (self._pids / str(os.getpid())).touch()
        time.sleep(0.3)
        return self._recordings.read(index, start, count)
