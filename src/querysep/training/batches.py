"""The items of a training as batches: in order, whatever the number of workers and processes, and after a cut."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from querysep.errors import ConfigError
from querysep.training.config import TrainingConfig


class Items(Protocol):
    """What a training draws from; there is no end of it."""

    def batch(self, indices: Sequence[int]) -> Any:
        """Return the items of some indices as one batch."""
        ...


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait."""
    while not condition():
        time.sleep(0.5)


@dataclass(frozen=True)
class Crowd:
    """The processes of one training, as torchrun starts them; one process where it did not.

    Attributes:
        rank: number of this process.
        size: number of processes.
        local: how many of them are on this machine.
    """

    rank: int = 0
    size: int = 1
    local: int = 1

    @classmethod
    def here(cls) -> "Crowd":
        """Read what torchrun says."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names)) if all(name in os.environ for name in names) else cls()


class _Batches(IterableDataset[Any]):
    """The items of all steps that are left, in order, shared out among the loader's workers batch by batch.

    Of each step's items every process takes its equal part, so that a training is the same with any number of them.
    It has no length: Lightning would count the batches of earlier sittings against it and start over too early.
    """

    def __init__(self, items: Items, done: int, config: TrainingConfig, crowd: Crowd) -> None:
        self._items = items
        self._done, self._steps, self._size = done, config.steps, config.batch_size
        self._crowd = crowd

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        part = self._size // self._crowd.size
        for step in range(self._done + number, self._steps, workers):
            first = step * self._size + self._crowd.rank * part
            yield self._items.batch(range(first, first + part))


def item_loader(items: Items, done: int, config: TrainingConfig, crowd: Crowd | None = None) -> DataLoader[Any]:
    """Return the batches of all steps after ``done``, in order, whatever the number of workers.

    Raises:
        ConfigError: the processes cannot share a batch equally.
    """
    crowd = crowd or Crowd()
    if config.batch_size % crowd.size:
        raise ConfigError(
            f"{crowd.size} processes cannot share a batch of {config.batch_size} equally. "
            f"Set batch_size to a multiple of {crowd.size}."
        )
    return DataLoader(
        _Batches(items, done, config, crowd),
        batch_size=None,
        num_workers=config.workers,
        multiprocessing_context="fork" if config.workers else None,
    )
