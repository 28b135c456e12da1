"""Signal metrics: ratios of energies and peaks, in decibels."""

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
