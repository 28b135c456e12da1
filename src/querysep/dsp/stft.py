"""The short-time Fourier transform that every network here uses: centred, reflected, periodic Hann."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def hann(n_fft: int, device: torch.device | None = None) -> Float[Tensor, "time"]:
    """Return the periodic Hann window of ``n_fft`` samples."""
    return torch.hann_window(n_fft, periodic=True, dtype=torch.float32, device=device)


def stft(wave: Float[Tensor, "*batch time"], n_fft: int, hop: int) -> Complex[Tensor, "*batch freq frame"]:
    """Transform samples to a spectrogram.

    Args:
        wave: shape (..., time); time must exceed ``n_fft // 2`` (the reflection needs that much).
        n_fft: window length in samples; freq = n_fft // 2 + 1.
        hop: samples between frames; frame = time // hop + 1, frame k centred at sample k * hop.

    Returns:
        Complex spectrogram, shape (..., freq, frame).
    """
    lead = wave.shape[:-1]
    spectrogram = torch.stft(
        wave.reshape(-1, wave.shape[-1]),
        n_fft,
        hop,
        window=hann(n_fft, wave.device),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    return spectrogram.reshape(*lead, *spectrogram.shape[-2:])


def istft(
    spectrogram: Complex[Tensor, "*batch freq frame"], n_fft: int, hop: int, time: int
) -> Float[Tensor, "*batch time"]:
    """Transform a spectrogram back to ``time`` samples: least-squares overlap-add."""
    lead = spectrogram.shape[:-2]
    wave = torch.istft(
        spectrogram.reshape(-1, *spectrogram.shape[-2:]),
        n_fft,
        hop,
        window=hann(n_fft, spectrogram.device),
        center=True,
        length=time,
    )
    return wave.reshape(*lead, time)
