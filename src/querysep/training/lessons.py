"""Items that the teacher has scored once, so that training need not wait for it.

The teacher costs several times what the network under training costs. A lesson keeps the log-mel spectrogram of an
item, its labels and what the teacher said of it; training goes round the lessons, each time varied a little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.detection.htsat import Htsat
from querysep.detection.yamnet import Yamnet
from querysep.errors import ConfigError
from querysep.io.files import atomic_text
from querysep.progress import Progress
from querysep.training.config import DetectorTraining
from querysep.training.weak_clips import WeakClips

_BATCH = 32
_LEVEL_DB, _CURVE_DB, _KNOTS = 6.0, 4.0, 5
_FLOOR_DB = -100.0
_DONE = "done"


class Lesson(NamedTuple):
    """A batch of items with what the teacher said of them.

    Attributes:
        spectrogram: log-mel, shape (batch, mel, frame), dB.
        labels: shape (batch, class).
        scores: the teacher's probabilities, shape (batch, teacher_class).
        latents: the teacher's embeddings, shape (batch, teacher_dim).
    """

    spectrogram: Tensor
    labels: Tensor
    scores: Tensor
    latents: Tensor


@dataclass(frozen=True)
class _Arrays:
    """Memory-mapped files, one row a lesson."""

    spectrograms: NDArray[np.float16]
    labels: NDArray[np.uint8]
    scores: NDArray[np.float16]
    latents: NDArray[np.float16]


class Lessons:
    """Batches of lessons; item i is the same in every run with one seed.

    Training goes round the items; each round has an order and variations of its own.
    """

    def __init__(self, arrays: _Arrays, seed: int) -> None:
        self._arrays = arrays
        self._seed = seed
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, dtype=np.int64))

    def batch(self, indices: Sequence[int]) -> Lesson:
        """Return the items of some indices; there is no end of them."""
        rows = [self._row(index) for index in indices]
        spectrograms = [
            _vary(self._arrays.spectrograms[row], np.random.default_rng([self._seed, 4, index]))
            for row, index in zip(rows, indices, strict=True)
        ]
        parts = (self._arrays.labels, self._arrays.scores, self._arrays.latents)
        labels, scores, latents = (torch.from_numpy(part[rows].astype(np.float32)) for part in parts)
        return Lesson(torch.from_numpy(np.stack(spectrograms)), labels, scores, latents)

    def _row(self, index: int) -> int:
        count = self._arrays.labels.shape[0]
        round_, place = divmod(index, count)
        if self._order[0] != round_:
            self._order = round_, np.random.default_rng([self._seed, 3, round_]).permutation(count)
        return int(self._order[1][place])


def _vary(spectrogram: NDArray[np.float16], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change level and color, and shift in time, round the end."""
    mels, frames = spectrogram.shape
    knots = rng.uniform(-_CURVE_DB, _CURVE_DB, size=_KNOTS)
    curve_db = np.interp(np.linspace(0, _KNOTS - 1, mels), np.arange(_KNOTS), knots) + rng.uniform(-1, 1) * _LEVEL_DB
    shifted = np.roll(spectrogram.astype(np.float32), int(rng.integers(frames)), axis=1)
    varied: NDArray[np.float32] = np.maximum(shifted + curve_db[:, None], _FLOOR_DB).astype(np.float32)
    return varied


def teach(
    items: WeakClips,
    network: Htsat,
    teacher: Yamnet,
    training: DetectorTraining,
    folder: Path,
    progress: Progress,
) -> Lessons:
    """Let the teacher score the first items; what is in the folder already is not scored again.

    Args:
        items: sounds and labels.
        network: whose log-mel spectrogram is kept.
        teacher: scores and embeds.
        training: says how many items, and the seed of order and variations.
        folder: for the files; 30 KB an item.
        progress: called after each batch.

    Raises:
        ConfigError: the folder holds lessons of another number of items or classes.
    """
    count = training.teacher_items
    folder.mkdir(parents=True, exist_ok=True)
    probe = items.batch([0])
    shapes = {
        "spectrograms": ((count, *network.log_mel(probe.waves()).shape[1:]), np.float16),
        "labels": ((count, probe.labels.shape[1]), np.uint8),
        "scores": ((count, len(teacher.names)), np.float16),
        "latents": ((count, teacher.latent_dim), np.float16),
    }
    marker = folder / _DONE
    done = int(marker.read_text()) if marker.is_file() else 0
    opened = {
        name: _open(folder / f"{name}.npy", shape, kind, fresh=not done) for name, (shape, kind) in shapes.items()
    }
    if any(opened[name].shape != shape for name, (shape, _) in shapes.items()):
        raise ConfigError(
            f"'{folder}' holds what a teacher said of other items or classes. Remove it, or train in another folder."
        )
    arrays = _Arrays(**opened)
    for first in range(done, count, _BATCH):
        batch = items.batch(range(first, min(count, first + _BATCH)))
        waves = batch.waves()
        scored = teacher(waves)
        rows = slice(first, first + waves.shape[0])
        arrays.spectrograms[rows] = network.log_mel(waves).numpy()
        arrays.labels[rows] = batch.labels.numpy()
        arrays.scores[rows] = scored.scores.numpy()
        arrays.latents[rows] = scored.latent.numpy()
        if (first // _BATCH) % 50 == 49 or rows.stop == count:
            for array in opened.values():
                array.flush()
            atomic_text(marker, str(rows.stop), overwrite=True)
        progress(rows.stop, count, "scoring by the teacher")
    return Lessons(arrays, training.seed)


def _open(path: Path, shape: tuple[int, ...], kind: type, *, fresh: bool) -> "np.memmap[tuple[int, ...], np.dtype]":
    return np.lib.format.open_memmap(path, mode="w+" if fresh else "r+", dtype=kind, shape=shape if fresh else None)
