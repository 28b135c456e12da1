"""Our separator: a U-Net over bands of bins, few channels, FiLM conditioning (Perez et al., 2018)."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from querysep.separation.config import SeparatorConfig
from querysep.separation.network import SeparatorNetwork

_LOG_SCALE = 100.0


class FilmBlock(nn.Module):
    """Two 3 x 3 convolutions with a residual path; the condition scales and shifts between them."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.film = nn.Linear(condition_dim, 2 * outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(
        self, image: Float[Tensor, "batch in height width"], condition: Float[Tensor, "batch condition_dim"]
    ) -> Float[Tensor, "batch out height width"]:
        """Convolve twice under the condition."""
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        inner = functional.silu(self.bn1(self.conv1(image)) * (1.0 + scale) + shift)
        return functional.silu(self.bn2(self.conv2(inner)) + self.skip(image))


class CompactUnet(SeparatorNetwork):
    """Neighbouring bins become channels, so that no layer works at full frequency resolution."""

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        self.config = config
        *levels, bottom = config.channels
        size = config.condition_hidden
        self.condition = nn.Sequential(
            nn.LayerNorm(config.condition_dim), nn.Linear(config.condition_dim, size), nn.SiLU(), nn.Linear(size, size)
        )
        self.stem = nn.Conv2d(2 * config.bins_per_band + 1, levels[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            FilmBlock(inputs, outputs, size) for inputs, outputs in zip([levels[0], *levels], levels, strict=False)
        )
        self.bottom = nn.ModuleList((FilmBlock(levels[-1], bottom, size), FilmBlock(bottom, bottom, size)))
        self.up = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1)
            for inputs, outputs in zip([bottom, *reversed(levels)], reversed(levels), strict=False)
        )
        self.decoder = nn.ModuleList(FilmBlock(2 * outputs, outputs, size) for outputs in reversed(levels))
        self.after_conv = nn.Conv2d(levels[0], config.bins_per_band, 3, padding=1)

    def _features(self, magnitude: Float[Tensor, "batch freq frame"]) -> Float[Tensor, "batch channel band frame"]:
        """Return level-independent features: compressed and logarithmic bins of each band, and the band's height."""
        bins = self.config.n_fft // 2
        level = magnitude.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-5)
        relative = magnitude[:, :bins] / level
        logarithm = torch.log1p(_LOG_SCALE * relative) / 4.0
        root = relative.clamp(min=1e-8).pow(0.3)
        grouped = rearrange(torch.stack((logarithm, root), 1), "b k (f g) t -> b (k g) f t", g=self.config.bins_per_band)
        batch, _, bands, frames = grouped.shape
        height = torch.linspace(-1.0, 1.0, bands, device=magnitude.device)[None, None, :, None]
        return torch.cat((grouped, height.expand(batch, 1, bands, frames).to(grouped.dtype)), dim=1)

    def logits_of_magnitude(
        self, magnitude: Float[Tensor, "batch freq frame"], condition: Float[Tensor, "batch condition_dim"]
    ) -> Float[Tensor, "batch bin frame"]:
        """Return the mask before its sigmoid, without the Nyquist bin."""
        frames = magnitude.shape[-1]
        hidden = self.condition(condition)
        step = 2 ** len(self.encoder)
        image = functional.pad(self._features(magnitude), (0, -frames % step))
        image = self.stem(image.contiguous(memory_format=torch.channels_last))
        skips = []
        for block in self.encoder:
            image = block(image, hidden)
            skips.append(image)
            image = functional.avg_pool2d(image, 2)
        for block in self.bottom:
            image = block(image, hidden)
        for up, block in zip(self.up, self.decoder, strict=True):
            image = functional.interpolate(up(image), scale_factor=2.0, mode="nearest")
            image = block(torch.cat((image, skips.pop()), dim=1), hidden)
        return rearrange(self.after_conv(image)[..., :frames], "b g f t -> b (f g) t")

    def mask_of_magnitude(
        self, magnitude: Float[Tensor, "batch freq frame"], condition: Float[Tensor, "batch condition_dim"]
    ) -> Float[Tensor, "batch freq frame"]:
        """Return the mask, 0..1; the Nyquist bin takes its neighbour's."""
        mask = torch.sigmoid(self.logits_of_magnitude(magnitude, condition).float())
        return torch.cat((mask, mask[:, -1:]), dim=1)
