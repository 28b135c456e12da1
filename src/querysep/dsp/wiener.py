"""Joint multichannel Wiener filtering of several separated magnitudes (Duong et al., 2010; Nugraha et al., 2016)."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def ratio_mask(
    magnitudes: Float[Tensor, "frame freq channel source"],
    mixture: Complex[Tensor, "frame freq channel"],
    eps: float = 1e-9,
) -> Complex[Tensor, "frame freq channel source"]:
    """Share the mixture among the sources in proportion to their magnitudes."""
    return mixture[..., None] * (magnitudes / (magnitudes.sum(dim=-1, keepdim=True) + eps))


def _em_step(
    sources: Complex[Tensor, "frame freq channel source"],
    mixture: Complex[Tensor, "frame freq channel"],
    eps: float,
) -> Complex[Tensor, "frame freq channel source"]:
    """One round of expectation-maximisation in the local Gaussian model."""
    power = sources.abs().square().mean(dim=2)  # (frame, freq, source)
    spatial = torch.einsum("tfcs,tfds->fscd", sources, sources.conj())
    spatial = spatial / (power.sum(dim=0) + eps)[..., None, None]
    channel = mixture.shape[-1]
    floor = (eps**0.5) * torch.eye(channel, dtype=mixture.dtype, device=mixture.device)
    covariances = power[..., None, None] * spatial  # (frame, freq, source, channel, channel)
    inverse = torch.linalg.inv(covariances.sum(dim=2) + floor)
    return torch.einsum("tfscd,tfde,tfe->tfcs", covariances, inverse, mixture)


def wiener(
    magnitudes: Float[Tensor, "frame freq channel source"],
    mixture: Complex[Tensor, "frame freq channel"],
    iterations: int = 1,
    scale_factor: float = 8.0,
    eps: float = 1e-9,
) -> Complex[Tensor, "frame freq channel source"]:
    """Refine separated magnitudes jointly: a ratio mask, then rounds of expectation-maximisation.

    Args:
        magnitudes: shape (frame, freq, channel, source), not negative.
        mixture: complex spectrogram, shape (frame, freq, channel).
        iterations: rounds after the ratio mask; 0 gives the mask alone.
        scale_factor: the mixture is scaled to at most this magnitude, for numerical range.
        eps: regularisation.

    Returns:
        Complex spectrograms of the sources, shape (frame, freq, channel, source).
    """
    sources = ratio_mask(magnitudes, mixture, eps)
    if iterations == 0:
        return sources
    scale = (mixture.abs().max() / scale_factor).clamp(min=1.0)
    sources, scaled = sources / scale, mixture / scale
    for _ in range(iterations):
        sources = _em_step(sources, scaled, eps)
    return sources * scale
