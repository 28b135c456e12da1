"""A function over many batches on a Ray cluster, in order; a batch whose worker died is done again by another."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

from querysep.errors import ConfigError

ResultT = TypeVar("ResultT")


def load_ray() -> ModuleType:
    """Import Ray.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("The Ray engine needs the extra 'cluster': pip install 'querysep[cluster]'.") from error
    module: ModuleType = ray
    return module


@contextmanager
def joined(address: str | None = None) -> Iterator[None]:
    """Join a Ray cluster, or start one on this machine; one that was joined before stays as it is.

    Args:
        address: of a running cluster, ``auto`` for the one of this machine; None: start one, and end it afterwards.

    Raises:
        ConfigError: Ray is missing, or the cluster cannot be reached.
    """
    ray = load_ray()
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address=address, include_dashboard=False if address is None else None, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"The Ray cluster '{address}' cannot be reached ({reason}). Start it by `ray start`."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


class _Worker:
    """A process of the cluster that was prepared once and works on batch after batch."""

    def __init__(self, shared: Any) -> None:
        import ray
        import torch

        torch.set_num_threads(1)
        prepare, arguments = ray.get(shared[0])
        self._work = prepare(*arguments)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"result": [pickle.dumps(self._work(pickle.loads(one))) for one in batch["batch"]]}


def over_batches(
    prepare: Callable[..., Callable[[Any], ResultT]],
    arguments: Sequence[Any],
    batches: Sequence[Any],
    workers: int | None = None,
    gpus: float = 0.0,
) -> Iterator[ResultT]:
    """Run a function over batches on the cluster that was joined.

    Args:
        prepare: called once in each worker with ``arguments``; returns the function.
        arguments: sent to each machine once.
        batches: what the function is called with, one after the other.
        workers: processes at most; None: as many as the cluster has room for.
        gpus: that each worker needs.

    Returns:
        What the function gave, in the order of the batches.
    """
    ray = load_ray()
    if not batches:
        return
    shared = ray.put((prepare, tuple(arguments)))
    most = max(1, int(ray.cluster_resources().get("GPU" if gpus else "CPU", 1) / (gpus or 1.0)))
    with _ordered(ray):
        rows = [{"batch": pickle.dumps(batch)} for batch in batches]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        found = data.map_batches(
            _Worker,
            fn_constructor_args=([shared],),
            batch_size=1,
            num_cpus=None if gpus else 1,
            num_gpus=gpus or None,
            compute=ray.data.ActorPoolStrategy(size=min(workers or most, most, len(rows))),
            max_restarts=-1,
            max_task_retries=-1,
        )
        for row in found.iter_rows():
            yield pickle.loads(row["result"])


@contextmanager
def _ordered(ray: ModuleType) -> Iterator[None]:
    """Keep the order of the batches, and show no bars of Ray's own."""
    context = ray.data.DataContext.get_current()
    options = context.execution_options
    before = options.preserve_order, context.enable_progress_bars
    options.preserve_order, context.enable_progress_bars = True, False
    try:
        yield
    finally:
        options.preserve_order, context.enable_progress_bars = before
