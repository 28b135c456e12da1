"""What a separation is held against: the ideal ratio mask, and supervised NMF without any training."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from querysep.dsp.stft import istft, stft
from querysep.errors import ConfigError
from querysep.types import FloatArray

N_FFT, HOP = 2048, 512
BASES = 20
ROUNDS = 60
LONGEST_QUERY = 10 * 32_000
"""Samples; more of a query would make learning its bases slow."""
_TINY = 1e-8


def ideal_ratio_mask(target: FloatArray, residual: FloatArray) -> FloatArray:
    """Return what masking the mixture by the true magnitudes' ratio gives.

    Args:
        target: shape (time,), more than 1024 samples.
        residual: all else in the mixture, same shape.
    """
    first, second = (stft(torch.from_numpy(wave), N_FFT, HOP) for wave in (target, residual))
    mask = first.abs() / (first.abs() + second.abs()).clamp(min=1e-9)
    estimate: FloatArray = istft((first + second) * mask, N_FFT, HOP, target.shape[0]).numpy()
    return estimate


def separate_by_nmf(mixture: FloatArray, query: FloatArray, seed: int = 0) -> FloatArray:
    """Separate by non-negative matrix factorisation (Smaragdis, Raj and Shashanka, 2007).

    Bases are learnt from the query's magnitudes; the mixture's magnitudes are explained by them and by as many free
    bases, Kullback-Leibler divergence; the query's share of the explanation is the mask.

    Args:
        mixture: shape (time,), more than 1024 samples.
        query: shape (time2,), more than 1024 samples.
        seed: of the first guess.

    Returns:
        The target, shape (time,).

    Raises:
        ConfigError: scikit-learn is not installed.
    """
    spectrum = stft(torch.from_numpy(mixture), N_FFT, HOP)
    magnitude = spectrum.abs().T.numpy().astype(np.float64) + _TINY  # (frame, freq)
    example = stft(torch.from_numpy(query[:LONGEST_QUERY]), N_FFT, HOP).abs().T.numpy().astype(np.float64) + _TINY
    rng = np.random.default_rng(seed)
    _, known = _factorise(example, _guess(example, (BASES, example.shape[1]), rng), 0, rng)
    free = _guess(magnitude, (BASES, magnitude.shape[1]), rng)
    activations, bases = _factorise(magnitude, np.concatenate((known, free)), BASES, rng)
    mask = (activations[:, :BASES] @ bases[:BASES]) / np.maximum(activations @ bases, _TINY)
    share = torch.from_numpy(mask.T.astype(np.float32))
    target: FloatArray = istft(spectrum * share, N_FFT, HOP, mixture.shape[0]).numpy()
    return target


def _guess(magnitude: NDArray[np.float64], shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float64]:
    return np.asarray(np.sqrt(magnitude.mean() / BASES) * rng.uniform(0.5, 1.5, shape))


def _factorise(
    magnitude: NDArray[np.float64], bases: NDArray[np.float64], known: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return activations (frame, base) and bases (base, freq), of which the first ``known`` stay as they are."""
    try:
        from sklearn.decomposition import non_negative_factorization
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise ConfigError("The baseline nmf needs scikit-learn. Install querysep[eval].") from error
    fixed, bases = bases[:known], bases.copy()
    activations = _guess(magnitude, (magnitude.shape[0], bases.shape[0]), rng)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it sees one round at a time
        for _ in range(ROUNDS):
            activations, bases, _ = non_negative_factorization(
                magnitude,
                activations,
                bases,
                n_components=bases.shape[0],
                init="custom",
                solver="mu",
                beta_loss="kullback-leibler",
                max_iter=1,
                tol=0.0,
            )
            bases[:known] = fixed
    return activations, bases
