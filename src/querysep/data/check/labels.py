"""Labels that the sound does not bear out: each clip against the clips of its class and of all others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from querysep.data.ontology import audioset

MARGIN = 0.3
"""Of 5 % labels swapped in the open set's test side, 82 to 87 % are nearer to another class by so much."""
_NEIGHBOURS = 3
_MOST_REFERENCES = 20_000
_BLOCK = 512
_LOUDEST_S = 5.0


@dataclass(frozen=True)
class Doubt:
    """A clip that sounds like another class.

    Attributes:
        index: of the clip.
        nearest: the other class whose clips are nearest.
        margin: how much nearer they are than those of the clip's own class, in cosine similarity.
    """

    index: int
    nearest: str
    margin: float


def doubtful_labels(
    vectors: NDArray[np.float32],
    labels: Sequence[tuple[str, ...]],
    groups: Sequence[int],
    least: float = MARGIN,
) -> list[Doubt]:
    """Compare every clip with its three nearest clips of its own first label and of every other class.

    Ancestors and descendants, by the labels or by the ontology, are not compared. Copies of a clip and the clip itself
    do not count. A class needs three other clips to be compared with, and without
    two such classes nothing is in doubt.

    Args:
        vectors: one for each clip, shape (clip, dim): latent embeddings, or spectra.
        labels: of each clip, the most specific first.
        groups: clips of one group are copies of one recording.
        least: smallest margin to return.

    Returns:
        The clips that are nearer to another class, the surest first.
    """
    unit = _whitened(vectors)
    names = sorted({label[0] for label in labels})
    number = {name: index for index, name in enumerate(names)}
    first = np.array([number[label[0]] for label in labels])
    group = np.asarray(groups)
    references = _references(first)
    order = references[np.argsort(first[references], kind="stable")]
    classes, starts = np.unique(first[order], return_index=True)
    sizes = np.diff(np.append(starts, order.size))
    classes, starts, sizes = (part[sizes >= _NEIGHBOURS] for part in (classes, starts, sizes))
    if classes.size < 2:
        return []
    related = _related(labels, number)
    doubts = []
    for begin in range(0, len(labels), _BLOCK):
        block = np.arange(begin, min(begin + _BLOCK, len(labels)))
        likeness = unit[block] @ unit[order].T
        likeness[group[block][:, None] == group[order][None, :]] = -np.inf
        nearness = np.stack(
            [
                np.partition(likeness[:, start : start + size], size - _NEIGHBOURS, axis=1)[:, -_NEIGHBOURS:].mean(
                    axis=1
                )
                for start, size in zip(starts, sizes, strict=True)
            ],
            axis=1,
        )
        doubts += _doubts(block, nearness, classes, [related[index] for index in block], names)
    return sorted((doubt for doubt in doubts if doubt.margin >= least), key=lambda doubt: -doubt.margin)


def _whitened(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors of length one, every dimension of like weight."""
    scaled = (vectors - vectors.mean(axis=0)) / (vectors.std(axis=0) + 1e-6)
    return np.asarray(scaled / (np.linalg.norm(scaled, axis=1, keepdims=True) + 1e-9), dtype=np.float32)


def _references(first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the clips to compare with: all of a small set, of a large one as many of every class."""
    if first.size <= _MOST_REFERENCES:
        return np.arange(first.size)
    most = max(_NEIGHBOURS + 1, _MOST_REFERENCES // np.unique(first).size)
    shuffled = np.random.default_rng(0).permutation(first.size)
    order = shuffled[np.argsort(first[shuffled], kind="stable")]
    _, starts, counts = np.unique(first[order], return_index=True, return_counts=True)
    rank = np.arange(order.size) - np.repeat(starts, counts)
    return np.sort(order[rank < most])


def _related(labels: Sequence[tuple[str, ...]], number: dict[str, int]) -> list[set[int]]:
    """Return for each clip the classes that it is not compared with.

    They are its labels, those whose clips carry its first label too, and kin of that in the ontology.
    """
    kin: dict[str, set[str]] = {name: {name} for name in number}
    for label in labels:
        for parent in label[1:]:
            kin.setdefault(parent, {parent}).add(label[0])
    ontology = audioset()
    for name in number:
        if name in ontology:
            kin[name] |= ontology.ancestors(name) | ontology.descendants(name)
    return [{number[one] for one in (*label, *kin[label[0]]) if one in number} for label in labels]


def _doubts(
    block: NDArray[np.int64],
    nearness: NDArray[np.float32],
    classes: NDArray[np.int64],
    own_classes: Sequence[set[int]],
    names: Sequence[str],
) -> list[Doubt]:
    doubts = []
    for index, near, own in zip(block, nearness, own_classes, strict=True):
        is_own = np.isin(classes, list(own))
        if not is_own.any() or is_own.all() or not np.isfinite(near[is_own]).any():
            continue
        nearest = int(np.argmax(np.where(is_own, -np.inf, near)))
        margin = float(near[nearest] - near[is_own].max())
        if np.isfinite(margin):
            doubts.append(Doubt(int(index), names[classes[nearest]], margin))
    return doubts


def loudest(samples: NDArray[np.int16], sample_rate: int) -> NDArray[np.int16]:
    """Return the loudest five seconds of a clip, or all of a shorter one."""
    wanted, step = round(_LOUDEST_S * sample_rate), sample_rate // 10
    if samples.size <= wanted:
        return samples
    power = np.add.reduceat(samples.astype(np.float64) ** 2, np.arange(0, samples.size, step))
    sums = np.convolve(power, np.ones(wanted // step), "valid")
    begin = min(int(sums.argmax()) * step, samples.size - wanted)
    return samples[begin : begin + wanted]
