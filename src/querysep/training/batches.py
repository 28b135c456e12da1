"""The items of a training as batches: in order, whatever the number of workers and processes, and after a cut."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from querysep.errors import ConfigError, DataError
from querysep.training.config import TrainingConfig

_POLL_S, _BEAT_S = 0.5, 5.0
_PATIENCE_S = 120.0  # without a sign of life; also for a process to begin


class Items(Protocol):
    """What a training draws from; there is no end of it."""

    def batch(self, indices: Sequence[int]) -> Any:
        """Return the items of some indices as one batch."""
        ...


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


@contextmanager
def signs_of_life(folder: Path) -> Iterator[None]:
    """Show the other processes, while the block runs, that this one has not died; they may ``wait_for`` it.

    Args:
        folder: the same for all processes; a file of each is touched there every few seconds.
    """
    sign = _sign(folder, Crowd.here().rank)
    folder.mkdir(parents=True, exist_ok=True)
    sign.touch()
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(_BEAT_S):
            sign.touch()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sign.unlink(missing_ok=True)


def wait_for(
    condition: Callable[[], bool], what: str, *, rank: int, folder: Path, patience_s: float = _PATIENCE_S
) -> None:
    """Wait until another process has done something, as long as it shows signs of life.

    Args:
        condition: tells that it is done.
        what: that process does, such as "embed its variations".
        rank: of that process, which is in a block of ``signs_of_life(folder)``.
        folder: as there.
        patience_s: how long it may show no sign of life.

    Raises:
        DataError: it showed none for so long.
    """
    sign = _sign(folder, rank)
    last, since = None, time.monotonic()
    while not condition():
        seen = sign.stat().st_mtime_ns if sign.is_file() else None
        if seen != last:
            last, since = seen, time.monotonic()
        if time.monotonic() - since > patience_s:
            raise DataError(
                f"Process {rank} of {Crowd.here().size} was to {what}, and has shown no sign of life for "
                f"{patience_s:g} s. See what it wrote last, and start the training again; it goes on."
            )
        time.sleep(_POLL_S)


def _sign(folder: Path, rank: int) -> Path:
    return folder / f"alive-{rank}"


class _Batches(IterableDataset[Any]):
    """The items of all steps that are left, in order, shared out among the loader's workers batch by batch.

    Of each step's items every process takes its equal part, so that a training is the same with any number of them.
    It has no length: Lightning would count the batches before the last checkpoint against it and start over too early.
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


def item_loader(
    items: Items, done: int, config: TrainingConfig, crowd: Crowd | None = None, *, pinned: bool = False
) -> DataLoader[Any]:
    """Return the batches of all steps after ``done``, in order, whatever the number of workers.

    The workers are started in the way that Python starts processes on this system, or that the program has chosen
    (``multiprocessing.set_start_method``).

    Args:
        items: what to draw from.
        done: steps that are behind.
        config: says how many steps, items and workers there are.
        crowd: the processes of the training.
        pinned: whether batches lie in memory from which a GPU copies faster.

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
        pin_memory=pinned,
        worker_init_fn=_leave_signals_to_parent if config.workers else None,
    )


def _leave_signals_to_parent(_worker: int) -> None:
    """Let a worker live on after Ctrl-C, which a terminal sends to all processes: the parent ends the training."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
