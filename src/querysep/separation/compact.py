"""Our separator: a U-Net over patches of bins and frames, conditioned by FiLM (Perez et al., 2018) on the way up.

No layer works at full time-frequency resolution: a patch of neighbouring bins and frames is one position, its values
are channels. The way down does not see the condition, so one pass down serves every query for the same mixture.
"""

from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from querysep.separation.config import CompactConfig
from querysep.separation.network import SeparatorNetwork
from querysep.separation.presence_head import PresenceHead

_LOG_SCALE = 100.0


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with a residual path; a condition, if any, scales and shifts between them."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int = 0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.film = nn.Linear(condition_dim, 2 * outputs) if condition_dim else None
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(
        self,
        image: Float[Tensor, "batch in height width"],
        condition: Float[Tensor, "batch condition_dim"] | None = None,
    ) -> Float[Tensor, "batch out height width"]:
        """Convolve twice."""
        return self._finish(self.conv1(image), self.skip(image), condition)

    def _finish(self, inner: Tensor, outer: Tensor, condition: Tensor | None) -> Tensor:
        inner = self.bn1(inner)
        if self.film is not None and condition is not None:
            scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
            inner = inner * (1.0 + scale) + shift
        return functional.relu(self.bn2(self.conv2(functional.relu(inner))) + outer)


class UpBlock(ResidualBlock):
    """A residual block on an image from below beside one from the way down.

    A convolution of two images is the sum of one of each, and what comes from the way down is the same for every
    condition: that half is convolved once for all of them.
    """

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__(2 * channels, channels, condition_dim)

    def prepare(self, left: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch twice height width"]:
        """Convolve what the way down left: the shares of the first convolution and of the residual path."""
        inner, outer = (kernels[:, left.shape[1] :] for kernels in self._kernels())
        return torch.cat((functional.conv2d(left, inner, padding=1), functional.conv2d(left, outer)), dim=1)

    def join(
        self,
        image: Float[Tensor, "batch channel height width"],
        prepared: Float[Tensor, "batch twice height width"],
        condition: Float[Tensor, "batch condition_dim"],
    ) -> Float[Tensor, "batch channel height width"]:
        """Go on with an image from below."""
        inner, outer = (kernels[:, : image.shape[1]] for kernels in self._kernels())
        left_inner, left_outer = prepared.chunk(2, dim=1)
        return self._finish(
            functional.conv2d(image, inner, padding=1) + left_inner,
            functional.conv2d(image, outer) + left_outer,
            condition,
        )

    def _kernels(self) -> tuple[Tensor, Tensor]:
        assert isinstance(self.skip, nn.Conv2d)
        return self.conv1.weight, self.skip.weight


class CompactUnet(SeparatorNetwork):
    """Patches of the magnitude spectrogram in, a sigmoid mask out."""

    config: CompactConfig

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.config = config
        *levels, bottom = config.channels
        size = config.condition_hidden
        cell = config.bins_per_band * config.frames_per_patch
        self.condition = nn.Sequential(
            nn.LayerNorm(config.condition_dim), nn.Linear(config.condition_dim, size), nn.SiLU(), nn.Linear(size, size)
        )
        self.stem = nn.Conv2d(2 * cell + 1, levels[0], 3, padding=1)
        self.encoder = nn.ModuleList(
            ResidualBlock(inputs, outputs) for inputs, outputs in zip([levels[0], *levels], levels, strict=False)
        )
        self.bottom = nn.ModuleList(
            ResidualBlock(levels[-1] if index == 0 else bottom, bottom, size) for index in range(config.bottom_blocks)
        )
        self.up = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 1)
            for inputs, outputs in zip([bottom, *reversed(levels)], reversed(levels), strict=False)
        )
        self.decoder = nn.ModuleList(UpBlock(outputs, size) for outputs in reversed(levels))
        self.after_conv = nn.Conv2d(levels[0], cell, 3, padding=1)
        height = config.n_fft // 2 // config.bins_per_band // 2 ** len(levels)
        self.presence = (
            PresenceHead(levels[-1], height, config.condition_dim, config.presence_dim) if config.presence_dim else None
        )

    def listen(self, magnitude: Float[Tensor, "batch freq frame"]) -> list[Tensor]:
        """Return what each level's image is to the way up, from coarse to fine; the last is the bottom's input.

        The features do not depend on the level of the input: it is divided by its own root mean square.
        """
        config = self.config
        bins, frames = config.n_fft // 2, magnitude.shape[-1]
        level = magnitude.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-5)
        step = config.frames_per_patch * 2 ** len(self.encoder)
        relative = functional.pad(magnitude[:, :bins] / level, (0, -frames % step))
        features = torch.stack((torch.log1p(_LOG_SCALE * relative) / 4.0, relative.clamp(min=1e-8).pow(0.3)), dim=1)
        image = rearrange(
            features, "b k (f g) (t p) -> b (k g p) f t", g=config.bins_per_band, p=config.frames_per_patch
        )
        height = torch.linspace(-1.0, 1.0, image.shape[2], dtype=image.dtype, device=image.device)[None, None, :, None]
        image = torch.cat((image, height.expand(image.shape[0], 1, -1, image.shape[3])), dim=1)
        image = self.stem(image.contiguous(memory_format=torch.channels_last))
        images = []
        for block in self.encoder:
            images.append(block(image))
            image = functional.avg_pool2d(images[-1], 2)
        return [*(block.prepare(left) for block, left in zip(self._ups, reversed(images), strict=True)), image]

    @property
    def _ups(self) -> list[UpBlock]:
        return cast("list[UpBlock]", list(self.decoder))

    def decode(
        self, images: list[Tensor], condition: Float[Tensor, "batch condition_dim"], frames: int
    ) -> Float[Tensor, "batch bin frame"]:
        """Return the mask before its sigmoid, without the Nyquist bin.

        Args:
            images: from ``listen``, one entry of the batch for each condition.
            condition: shape (batch, condition_dim).
            frames: of the mixture's spectrogram.
        """
        hidden = self.condition(condition)
        *prepared, image = images
        for block in self.bottom:
            image = block(image, hidden)
        for up, block, left in zip(self.up, self._ups, prepared, strict=True):
            image = block.join(functional.interpolate(up(image), scale_factor=2.0, mode="nearest"), left, hidden)
        logits = rearrange(
            self.after_conv(image),
            "b (g p) f t -> b (f g) (t p)",
            g=self.config.bins_per_band,
            p=self.config.frames_per_patch,
        )
        cut: Tensor = logits[..., :frames]
        return cut

    def answer(
        self, heard: list[Tensor], condition: Float[Tensor, "batch condition_dim"], frames: int
    ) -> Float[Tensor, "batch freq frame"]:
        """Return the mask, 0..1; the Nyquist bin takes its neighbour's."""
        mask = torch.sigmoid(self.decode(heard, condition, frames).float())
        return torch.cat((mask, mask[:, -1:]), dim=1)

    def presence_logits(
        self, heard: list[Tensor], condition: Float[Tensor, "query condition_dim"]
    ) -> Float[Tensor, "batch query"] | None:
        """Return the log-odds that what each condition means is in each mixture; None for weights that cannot tell."""
        return self.presence(heard[-1], condition) if self.presence is not None else None

    def mask_of_magnitude(
        self, magnitude: Float[Tensor, "batch freq frame"], condition: Float[Tensor, "batch condition_dim"]
    ) -> Float[Tensor, "batch freq frame"]:
        """Return the mask, 0..1."""
        return self.answer(self.listen(magnitude), condition, magnitude.shape[-1])
