"""Masking of spectrograms (SpecAugment, Park et al., 2019)."""

import torch
from torch import Tensor

_MASKED_MELS, _MASKED_FRAMES = 12, 40


def mask_stripes(spectrogram: Tensor) -> Tensor:
    """Replace one stripe of mel bands and one of frames of each item by the item's mean."""
    batch, mels, frames = spectrogram.shape
    mean = spectrogram.mean(dim=(1, 2), keepdim=True)
    masked = torch.zeros(batch, mels, frames, dtype=torch.bool, device=spectrogram.device)
    for axis, size, widest in ((1, mels, _MASKED_MELS), (2, frames, _MASKED_FRAMES)):
        width = torch.rand(batch, 1, device=spectrogram.device) * widest
        start = torch.rand(batch, 1, device=spectrogram.device) * (size - width)
        position = torch.arange(size, device=spectrogram.device)
        stripe = (position >= start) & (position < start + width)
        masked |= stripe[:, :, None] if axis == 1 else stripe[:, None, :]
    return torch.where(masked, mean, spectrogram)
