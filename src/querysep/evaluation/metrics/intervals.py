"""Means and medians of figures: the intervals in which they lie."""

import numpy as np
from numpy.typing import NDArray


def bootstrap_interval(
    values: NDArray[np.float64], share: float = 0.95, rounds: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile interval of the mean.

    Args:
        values: shape (item,), at least one.
        share: of the resampled means that lie within.
        rounds: number of resamplings.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, values.shape[0], size=(rounds, values.shape[0]))].mean(axis=1)
    low, high = np.quantile(means, [(1.0 - share) / 2.0, (1.0 + share) / 2.0])
    return float(low), float(high)


def median(values: NDArray[np.float64]) -> float:
    """Return the median of those that are numbers, NaN where none is."""
    counted = values[np.isfinite(values)]
    return float(np.median(counted)) if len(counted) else float("nan")


def median_interval(values: NDArray[np.float64], rounds: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the median of at least one value."""
    rng = np.random.default_rng(seed)
    medians = np.median(values[rng.integers(0, len(values), size=(rounds, len(values)))], axis=1)
    low, high = np.quantile(medians, [0.025, 0.975])
    return float(low), float(high)
