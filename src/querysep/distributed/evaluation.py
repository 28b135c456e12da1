"""Evaluation over many machines: each worker builds the protocol for itself and measures tasks as it would here."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from querysep.distributed.cluster import joined, over_batches
from querysep.evaluation.protocols.protocol import Protocol, Row
from querysep.evaluation.runner import Engine

_MOST_BATCHES = 1000


@contextmanager
def ray_evaluation(
    build: Callable[[str], Protocol],
    address: str | None = None,
    workers: int | None = None,
    device: str = "cpu",
    gpus: float = 0.0,
) -> Iterator[Engine]:
    """Give an engine for ``run`` that works on a Ray cluster.

    Recordings and weights have to be at the same paths on every machine. Rows come back here, in the order of the
    tasks, and are written by this process alone.

    Args:
        build: makes the protocol on a device; called once in each worker, so it must be something that pickles.
        address: of the cluster, see ``cluster.joined``.
        workers: processes; None: as many as there is room for.
        device: of each worker.
        gpus: that each worker needs, such as 1 or 0.5.

    Raises:
        ConfigError: Ray is missing, or the cluster cannot be reached.
    """

    def engine(_protocol: Protocol, tasks: Sequence[str]) -> Iterator[list[Row]]:
        size = -(-len(tasks) // _MOST_BATCHES) or 1
        batches = [list(tasks[start : start + size]) for start in range(0, len(tasks), size)]
        for measured in over_batches(_prepare, (build, device), batches, workers, gpus):
            yield from measured

    with joined(address):
        yield engine


def _prepare(build: Callable[[str], Protocol], device: str) -> Callable[[Sequence[str]], list[list[Row]]]:
    protocol = build(device)
    return lambda tasks: [protocol.measure(task) for task in tasks]
