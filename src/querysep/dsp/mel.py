"""Mel filter bank (Slaney's scale and area normalisation) and log-mel spectrogram."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from querysep.dsp.stft import stft

_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_LOG_START_HZ = 1000.0
_LOG_STEP = math.log(6.4) / 27.0


def hz_to_mel(freq_hz: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Convert Hz to mel: linear below 1 kHz, logarithmic above (Slaney, Auditory Toolbox, 1998)."""
    start = _LOG_START_HZ / _LINEAR_HZ_PER_MEL
    log_part = start + torch.log(freq_hz.clamp(min=1e-9) / _LOG_START_HZ) / _LOG_STEP
    return torch.where(freq_hz < _LOG_START_HZ, freq_hz / _LINEAR_HZ_PER_MEL, log_part)


def mel_to_hz(mel: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Convert mel to Hz: the inverse of ``hz_to_mel``."""
    start = _LOG_START_HZ / _LINEAR_HZ_PER_MEL
    return torch.where(mel < start, mel * _LINEAR_HZ_PER_MEL, _LOG_START_HZ * torch.exp(_LOG_STEP * (mel - start)))


def mel_filter_bank(
    sample_rate: int, n_fft: int, n_mels: int, fmin_hz: float, fmax_hz: float
) -> Float[Tensor, "freq mel"]:
    """Return triangular filters of equal area, shape (n_fft // 2 + 1, n_mels), float32."""
    edges_mel = torch.linspace(0.0, 1.0, n_mels + 2, dtype=torch.float64)
    low, high = hz_to_mel(torch.tensor([fmin_hz, fmax_hz], dtype=torch.float64))
    edges = mel_to_hz(low + (high - low) * edges_mel)
    bins = torch.linspace(0.0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    triangles = torch.minimum(rising, falling).clamp(min=0.0)
    return (triangles * (2.0 / (edges[2:] - edges[:-2]))).float()


def log_mel(
    wave: Float[Tensor, "batch time"], filters: Float[Tensor, "freq mel"], n_fft: int, hop: int
) -> Float[Tensor, "batch mel frame"]:
    """Return the log-mel power spectrogram in dB (floor -100 dB), frame = time // hop + 1.

    ``wave`` must be longer than ``n_fft // 2`` samples.
    """
    power = stft(wave, n_fft, hop).abs().square()
    mel = torch.einsum("bft,fm->bmt", power, filters)
    return 10.0 * torch.log10(mel.clamp(min=1e-10))
