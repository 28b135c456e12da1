"""Signal metrics, and intervals for their means."""

import numpy as np
from numpy.typing import NDArray

_SILENCE = 1e-12


def snr_db(reference: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    """Return the energy of the reference over that of the error, whole length, dB.

    Args:
        reference: any shape; silence (energy under 1e-12) gives NaN, since nothing can be said of it.
        estimate: same shape.

    Returns:
        At most 120 dB, for an exact estimate.
    """
    wanted = float(np.square(reference, dtype=np.float64).sum())
    error = float(np.square(reference.astype(np.float64) - estimate).sum())
    if wanted < _SILENCE:
        return float("nan")
    return float(10.0 * np.log10(wanted / max(error, wanted * 1e-12)))


def si_sdr_db(reference: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    """Return the scale-invariant SDR (Le Roux et al., 2019), without removing means, dB; NaN for a silent reference.

    Args:
        reference: shape (time,).
        estimate: shape (time,); silence gives -120 dB.
    """
    target, guess = reference.astype(np.float64), estimate.astype(np.float64)
    energy = float(target @ target)
    if energy < _SILENCE:
        return float("nan")
    projected = (float(target @ guess) / energy) * target
    error = float(np.square(guess - projected).sum())
    explained = float(projected @ projected)
    if explained < _SILENCE:
        return -120.0
    return float(10.0 * np.log10(explained / max(error, explained * 1e-12)))


def silence_sdr_db(mixture: NDArray[np.float32], estimate: NDArray[np.float32]) -> float:
    """Return the energy of the mixture over that of what was taken out of it, dB; large where little was taken.

    As the paper's silence-SDR: a mean square below 1e-8 (-80 dBFS) counts as 1e-8, so silence has a figure.

    Args:
        mixture: any shape.
        estimate: same shape.
    """
    powers = [max(float(np.square(wave, dtype=np.float64).mean()), 1e-8) for wave in (mixture, estimate)]
    return float(10.0 * np.log10(powers[0] / powers[1]))


def peak_db(wave: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Return the largest sample of a wave over the reference's, dB; at least -200 dB.

    Args:
        wave: any shape.
        reference: any shape, not silent.
    """
    return float(20.0 * np.log10(max(float(np.abs(wave).max()) / float(np.abs(reference).max()), 1e-10)))


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
