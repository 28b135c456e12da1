"""Embedding: the latent embedding of every clip of a data set."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from querysep.data.recordings import Recordings
from querysep.detection.network import DetectorNetwork
from querysep.detection.windows import embed_together
from querysep.errors import DataError
from querysep.progress import Progress, silent

_BATCH = 32  # clips of one call of the work


class EmbeddingEngine(Protocol):
    """Where the work is done."""

    def __call__(
        self, network: DetectorNetwork, recordings: Recordings, batches: Sequence[Sequence[int]]
    ) -> Iterator[NDArray[np.float32]]:
        """Give ``embed_batch`` of each batch, in the order of the batches."""
        ...


def embed_batch(
    network: DetectorNetwork, recordings: Recordings, indices: Sequence[int], device: torch.device | str = "cpu"
) -> NDArray[np.float32]:
    """Return the latent embeddings of some clips, shape (clip, latent_dim): what each engine does."""
    waves = []
    for index in indices:
        sound = recordings.read(index)
        if not sound.shape[0]:
            raise DataError(f"The clip '{recordings.clips[index].path}' has no sound.")
        waves.append(sound.astype(np.float32) / 32768.0)
    return embed_together(network, waves, device)


def embed_here(
    network: DetectorNetwork, recordings: Recordings, batches: Sequence[Sequence[int]]
) -> Iterator[NDArray[np.float32]]:
    """Embed in this process."""
    return (embed_batch(network, recordings, batch) for batch in batches)


def embed_clips(
    recordings: Recordings,
    network: DetectorNetwork,
    *,
    engine: EmbeddingEngine = embed_here,
    progress: Progress = silent,
) -> NDArray[np.float32]:
    """Return the latent embedding of every clip.

    Args:
        recordings: clips and their sound, at the detector's rate.
        network: the detector, in eval mode.
        engine: where the work is done.
        progress: told after each batch.

    Returns:
        Shape (clip, latent_dim).

    Raises:
        DataError: a clip cannot be read or has no sound.
    """
    total = len(recordings.clips)
    found = np.zeros((total, network.config.latent_dim), dtype=np.float32)
    batches = [range(first, min(total, first + _BATCH)) for first in range(0, total, _BATCH)]
    for batch, latents in zip(batches, engine(network, recordings, batches), strict=True):
        found[batch.start : batch.stop] = latents
        progress(batch.stop, total, "embedding clips")
    return found
