"""Clips and their sound, wherever it lies: in memory, in files, in packs or in a store."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import Clip


class Recordings(Protocol):
    """The clips of a data set with random access to their sound."""

    @property
    def clips(self) -> Sequence[Clip]:
        """The rows of the manifest."""
        ...

    @property
    def sample_rate(self) -> int:
        """Of all that is read, in Hz."""
        ...

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of a clip.

        Args:
            index: of the clip.
            start: first sample.
            count: samples; None for all that are left. Fewer come where the clip ends.

        Returns:
            Mono samples, shape (time,).

        Raises:
            DataError: the sound cannot be read.
        """
        ...
