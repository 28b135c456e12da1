"""Mining and embedding over many machines: each worker does what the local engine does."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from querysep.anchors.embedding import EmbeddingEngine, embed_batch
from querysep.anchors.mine import Engine
from querysep.anchors.miner import Mined, Miner, mine_batch
from querysep.data.recordings import Recordings
from querysep.detection.network import DetectorNetwork
from querysep.distributed.cluster import joined, over_batches
from querysep.model import choose_device


@contextmanager
def ray_engine(
    address: str | None = None, workers: int | None = None, device: str = "cpu", gpus: float = 0.0
) -> Iterator[Engine]:
    """Give an engine for ``mine`` that works on a Ray cluster.

    The detector goes to each worker once, and so does the list of clips; their sound is read where they are mined, so
    the data set has to be at the same path on every machine, or on an object store. What is found comes back here
    and is written by this process alone.

    Args:
        address: of the cluster, see ``cluster.joined``.
        workers: processes; None: as many as there is room for.
        device: of each worker.
        gpus: that each worker needs, such as 1 or 0.5.

    Raises:
        ConfigError: Ray is missing, or the cluster cannot be reached.
    """

    def engine(miner: Miner, recordings: Recordings, batches: Sequence[Sequence[int]]) -> Iterator[Mined]:
        return over_batches(_prepare, (miner, recordings, device), batches, workers, gpus)

    with joined(address):
        yield engine


@contextmanager
def ray_embedding(
    address: str | None = None, workers: int | None = None, device: str = "cpu", gpus: float = 0.0
) -> Iterator[EmbeddingEngine]:
    """Give an engine for ``embed_clips`` that works on a Ray cluster; arguments as in ``ray_engine``."""

    def engine(
        network: DetectorNetwork, recordings: Recordings, batches: Sequence[Sequence[int]]
    ) -> Iterator[NDArray[np.float32]]:
        return over_batches(_prepare_embedding, (network, recordings, device), batches, workers, gpus)

    with joined(address):
        yield engine


def _prepare_embedding(
    network: DetectorNetwork, recordings: Recordings, device: str
) -> Callable[[Sequence[int]], NDArray[np.float32]]:
    chosen = choose_device(device)
    return partial(embed_batch, network.to(chosen).eval(), recordings, device=chosen)


def _prepare(miner: Miner, recordings: Recordings, device: str) -> Callable[[Sequence[int]], Mined]:
    return partial(mine_batch, miner.on(choose_device(device)), recordings)
