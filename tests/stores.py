"""What tests of stores share: recordings made up on the spot."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import Clip, Split
from querysep.errors import DataError
from querysep.progress import Progress

RATE = 8_000
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass
class MadeUp:
    """Recordings of noise; clip i is the same whenever it is read."""

    count: int
    broken: frozenset[int] = frozenset()
    sample_rate: int = RATE
    seed: int = 0

    @cached_property
    def clips(self) -> Sequence[Clip]:
        return [
            Clip(
                path=f"folder/clip-{index}.flac",
                row=index if index % 2 else None,
                start_s=index / 3,
                labels=("Bärk", "Dog", f"Sound {index % 5}")[: 1 + index % 3],
                duration_s=self._samples(index) / self.sample_rate,
                licence="CC0",
                source="made up",
                origin=f"origin {index // 2}",
                split=_SPLITS[index % 3],
                held_out=index % 7 == 0,
            )
            for index in range(self.count)
        ]

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        if index in self.broken:
            raise DataError(f"Clip {index} is broken.")
        noise = np.random.default_rng([self.seed, index]).integers(-32768, 32768, self._samples(index), np.int16)
        return noise[start : None if count is None else start + count]

    def _samples(self, index: int) -> int:
        return 1 + (index * 7919) % 3000


def rows_of(store: Path | str, kind: str = "clips") -> list[dict[str, Any]]:
    """Return everything that the shards in a folder hold, sound included, by what Arrow itself reads."""
    import pyarrow.dataset

    shards = sorted(str(path) for path in Path(store).glob(f"{kind}-*.arrow"))
    rows: list[dict[str, Any]] = pyarrow.dataset.dataset(shards, format="ipc").to_table().to_pylist()
    return rows


def stop_at(number: float) -> Progress:
    """Return a progress report that interrupts the work."""

    def report(done: float, total: float | None, what: str) -> None:
        if done == number:
            raise KeyboardInterrupt

    return report
