"""How well scores tell classes and presence, and how well embeddings group recordings of one class."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision, binary_calibration_error

from querysep.errors import DataError


@dataclass(frozen=True)
class ClassScores:
    """How well one class is told from all others.

    Attributes:
        label: the class.
        clips: that carry it.
        average_precision: area under precision and recall, by steps.
        auc: area under the receiver operating characteristic.
        d_prime: distance of two normal distributions with that area, in standard deviations (as AudioSet's papers).
    """

    label: str
    clips: int
    average_precision: float
    auc: float
    d_prime: float


def average_precision(relevant: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Return the average precision of a ranking (torchmetrics).

    Args:
        relevant: shape (item,), at least one of them.
        scores: shape (item,), in 0 to 1, large for what comes first.
    """
    return float(binary_average_precision(torch.from_numpy(scores), torch.from_numpy(relevant).long()))


def class_scores(labels: Sequence[str], present: NDArray[np.bool_], scores: NDArray[np.floating]) -> list[ClassScores]:
    """Measure every class that some clips carry and some do not.

    Args:
        labels: names, in order.
        present: shape (clip, class), the weak labels.
        scores: shape (clip, class).
    """
    rows = []
    for index, label in enumerate(labels):
        relevant = present[:, index]
        if not 0 < int(relevant.sum()) < relevant.shape[0]:
            continue
        auc = float(binary_auroc(torch.from_numpy(scores[:, index]), torch.from_numpy(relevant).long()))
        # An area of 1 has no finite distance; half a pair less stands for it.
        pairs = float(relevant.sum()) * float((~relevant).sum())
        inner = min(max(auc, 0.5 / pairs), 1.0 - 0.5 / pairs)
        d_prime = 2.0**0.5 * NormalDist().inv_cdf(inner)
        rows.append(
            ClassScores(label, int(relevant.sum()), average_precision(relevant, scores[:, index]), auc, d_prime)
        )
    return rows


def retrieval_precision(
    embeddings: NDArray[np.float32], labels: Sequence[str], origins: Sequence[str]
) -> dict[str, float]:
    """Retrieve with each recording the others of its class, by cosine similarity.

    Recordings of its own origin are left out of its ranking: they would be found by their microphone.

    Args:
        embeddings: shape (clip, dim).
        labels: the class of each clip.
        origins: of each clip.

    Returns:
        For each class, the mean of the average precisions of its recordings; classes without two origins are left out.

    Raises:
        DataError: no class has recordings of two origins.
    """
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.maximum(length, 1e-12)
    names, whence = np.array(labels), np.array(origins)
    found: dict[str, list[float]] = {}
    for index in range(unit.shape[0]):
        others = whence != whence[index]
        relevant = names[others] == names[index]
        if relevant.any():
            likeness = (1.0 + np.clip(unit[others] @ unit[index], -1.0, 1.0)) / 2.0
            found.setdefault(str(names[index]), []).append(average_precision(relevant, likeness))
    if not found:
        raise DataError("No class has recordings of two origins; retrieval cannot be measured.")
    return {label: float(np.mean(values)) for label, values in sorted(found.items())}


def presence_auc(present: NDArray[np.float64], absent: NDArray[np.float64]) -> float:
    """Return the share of pairs in which a sound that is there scores above one that is not (torchmetrics).

    Args:
        present: scores of queries whose sound is in the mixture, shape (item,), in 0 to 1, at least one.
        absent: scores of queries whose sound is not, shape (item2,), at least one.
    """
    scores, truth = _scores(present, absent)
    return float(binary_auroc(scores, truth))


def calibration_error(present: NDArray[np.float64], absent: NDArray[np.float64], bins: int = 15) -> float:
    """Return the expected calibration error of presence scores read as probabilities (torchmetrics).

    Args:
        present: as `presence_auc`.
        absent: as `presence_auc`.
        bins: of equal width.
    """
    scores, truth = _scores(present, absent)
    return float(binary_calibration_error(scores, truth, n_bins=bins, norm="l1"))


def _scores(present: NDArray[np.float64], absent: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    truth = torch.cat((torch.ones(len(present)), torch.zeros(len(absent)))).long()
    return torch.from_numpy(np.concatenate((present, absent))), truth
