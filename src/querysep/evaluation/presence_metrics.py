"""How well presence scores tell what is in a mixture from what is not."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_calibration_error


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
