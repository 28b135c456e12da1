"""The paper's separator: a 6+1+6 block U-Net, the condition added in every block (Chen et al., 2022, Section 3.2)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from querysep.separation.config import PaperConfig
from querysep.separation.network import SeparatorNetwork


class ConvBlock(nn.Module):
    """Two 3 x 3 convolutions; after each, batch norm, ReLU, and a projection of the condition added."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs, momentum=0.01)
        self.emb1 = nn.Linear(condition_dim, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, momentum=0.01)
        self.emb2 = nn.Linear(condition_dim, outputs)

    def forward(
        self, image: Float[Tensor, "batch in height width"], condition: Float[Tensor, "batch condition_dim"]
    ) -> Float[Tensor, "batch out height width"]:
        """Convolve twice under the condition."""
        image = functional.relu(self.bn1(self.conv1(image))) + self.emb1(condition)[:, :, None, None]
        image = functional.relu(self.bn2(self.conv2(image))) + self.emb2(condition)[:, :, None, None]
        return image


class UpBlock(nn.Module):
    """Double the resolution, join the encoder's skip connection behind, convolve."""

    def __init__(self, inputs: int, outputs: int, condition_dim: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(inputs, outputs, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs, momentum=0.01)
        self.emb1 = nn.Linear(condition_dim, outputs)
        self.conv_block2 = ConvBlock(2 * outputs, outputs, condition_dim)

    def forward(
        self,
        image: Float[Tensor, "batch in height width"],
        skip: Float[Tensor, "batch out height2 width2"],
        condition: Float[Tensor, "batch condition_dim"],
    ) -> Float[Tensor, "batch out height2 width2"]:
        """Return an image of the skip connection's size."""
        up = functional.relu(self.bn1(self.conv1(image))) + self.emb1(condition)[:, :, None, None]
        joined: Tensor = self.conv_block2(torch.cat((up[:, :, :-1, :-1], skip), dim=1), condition)
        return joined


class PaperUnet(SeparatorNetwork):
    """The published separator; magnitude in, sigmoid mask out."""

    def __init__(self, config: PaperConfig) -> None:
        super().__init__()
        self.config = config
        *levels, bottom = config.channels
        size = config.condition_dim
        self.bn0 = nn.BatchNorm2d(config.n_fft // 2 + 1, momentum=0.01)
        self.encoder = nn.ModuleList(
            ConvBlock(inputs, outputs, size) for inputs, outputs in zip([1, *levels], levels, strict=False)
        )
        self.bottom = ConvBlock(levels[-1], bottom, size)
        self.decoder = nn.ModuleList(
            UpBlock(inputs, outputs, size)
            for inputs, outputs in zip([bottom, *reversed(levels)], reversed(levels), strict=False)
        )
        self.after_block = ConvBlock(levels[0], levels[0], size)
        self.after_conv = nn.Conv2d(levels[0], 1, 1)

    def mask_of_magnitude(
        self, magnitude: Float[Tensor, "batch freq frame"], condition: Float[Tensor, "batch condition_dim"]
    ) -> Float[Tensor, "batch freq frame"]:
        """Return the mask, 0..1; the Nyquist bin's is always 0.5, as published."""
        frames = magnitude.shape[-1]
        step = 2 ** len(self.encoder)
        # The published network has time as height and frequency as width, and pads after the batch norm.
        image = self.bn0(magnitude[..., None]).transpose(1, 3)
        image = functional.pad(image[..., :-1], (0, -(magnitude.shape[1] - 1) % step, 0, -frames % step))
        skips = []
        for block in self.encoder:
            skips.append(block(image, condition))
            image = functional.avg_pool2d(skips[-1], 2)
        image = self.bottom(image, condition)
        for up in self.decoder:
            image = up(image, skips.pop(), condition)
        logits = self.after_conv(self.after_block(image, condition))[:, 0, :frames, : magnitude.shape[1] - 1]
        return torch.sigmoid(functional.pad(logits, (0, 1))).transpose(1, 2)
