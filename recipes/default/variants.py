"""One thing of the separator's training changed: python variants.py NAME train separator ... runs querysep with it.

These are experiments (README.md); what wins is built into the package, what loses stays here. The folder of such a run
says its name in variant.txt, so that experiments.py can load it.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from querysep.training.augment import change_speed, equalise
from querysep.training.losses import presence_loss
from querysep.training.rivals import Rivals, pairs_of
from querysep.training.separator_items import Item
from torch import Tensor, nn
from torch.nn import functional

from querysep.dsp.stft import istft, stft
from querysep.separation.compact import CompactUnet, ResidualBlock, UpBlock
from querysep.separation.config import SeparatorConfig
from querysep.separation.network import SeparatorNetwork
from querysep.training import separator
from querysep.training.separator import SeparatorModule, answers_for_pairs

HEADS = 4


def shift_only(network: CompactUnet) -> CompactUnet:
    """Let the condition shift, as the paper does, and not scale."""
    for block in network.modules():
        if isinstance(block, ResidualBlock) and block.film is not None:
            block.film = _ShiftOnly(block.film.in_features, block.film.out_features // 2)
    return network


class _ShiftOnly(nn.Linear):
    """A scale of nothing beside a shift."""

    def forward(self, condition: Tensor) -> Tensor:
        shift = super().forward(condition)
        return torch.cat((torch.zeros_like(shift), shift), dim=1)


def with_attention(network: CompactUnet) -> CompactUnet:
    """Attend along time, then along bands, after each of the bottom's blocks."""
    for index, block in enumerate(network.bottom):
        network.bottom[index] = _Attended(block, network.config.channels[-1])
    return network


def with_separable_blocks(network: CompactUnet) -> CompactUnet:
    """Convolve each channel by itself over 5 x 5, then mix channels (Howard et al., 2017), where no skip comes in."""
    for block in network.modules():
        if isinstance(block, ResidualBlock):
            block.add_module("conv2", _separable(block.conv2))
            if not isinstance(block, UpBlock):
                block.add_module("conv1", _separable(block.conv1))
    return network


def _separable(conv: nn.Conv2d) -> nn.Sequential:
    inputs = conv.in_channels
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 5, padding=2, groups=inputs, bias=False),
        nn.Conv2d(inputs, conv.out_channels, 1, bias=False),
    )


class _Attended(nn.Module):
    """A block, then a dual path of attention; both paths add nothing at the start."""

    def __init__(self, block: nn.Module, channels: int) -> None:
        super().__init__()
        self.block = block
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.paths = nn.ModuleList(nn.MultiheadAttention(channels, HEADS, batch_first=True) for _ in range(2))
        for path in self.paths:
            assert isinstance(path, nn.MultiheadAttention)
            nn.init.zeros_(path.out_proj.weight)

    def forward(self, image: Tensor, condition: Tensor) -> Tensor:
        image = self.block(image, condition)
        batch, _, bands, columns = image.shape
        tokens = rearrange(image, "b c f t -> (b f) t c")
        tokens = self._add(tokens, 0)
        tokens = rearrange(tokens, "(b f) t c -> (b t) f c", b=batch, f=bands)
        tokens = self._add(tokens, 1)
        return rearrange(tokens, "(b t) f c -> b c f t", b=batch, t=columns)

    def _add(self, tokens: Tensor, path: int) -> Tensor:
        normed = self.norms[path](tokens)
        added: Tensor = self.paths[path](normed, normed, normed, need_weights=False)[0]
        return tokens + added


class ComplexUnet(CompactUnet):
    """Hears the mixture's phase too, and turns it: a mask of magnitudes times a rotation."""

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__(config)
        cell, width = config.bins_per_band * config.frames_per_patch, config.channels[0]
        self.phase_stem = nn.Conv2d(2 * cell, width, 3, padding=1, bias=False)
        self.turn_conv = nn.Conv2d(width, 2 * cell, 3, padding=1)
        nn.init.zeros_(self.turn_conv.weight)
        assert self.turn_conv.bias is not None
        nn.init.zeros_(self.turn_conv.bias)
        self._phase: Tensor | None = None
        self._turn: Tensor | None = None
        self.stem.register_forward_hook(self._hear_phase)
        self.after_conv.register_forward_hook(self._keep_turn)

    def _patches(self, part: Tensor) -> Tensor:
        config = self.config
        step = config.frames_per_patch * 2 ** len(self.encoder)
        padded = functional.pad(part[..., : config.n_fft // 2, :], (0, -part.shape[-1] % step))
        image: Tensor = rearrange(
            padded, "b k (f g) (t p) -> b (k g p) f t", g=config.bins_per_band, p=config.frames_per_patch
        )
        return image

    def _hear_phase(self, _: nn.Module, __: Any, image: Tensor) -> Tensor:
        assert self._phase is not None
        added: Tensor = self.phase_stem(self._patches(self._phase))
        return image + added

    def _keep_turn(self, _: nn.Module, given: tuple[Tensor], __: Tensor) -> None:
        self._turn = self.turn_conv(given[0])

    def set_mixture(self, spectrogram: Tensor) -> None:
        """Say whose magnitude is listened to next, shape (batch, freq, frame), complex."""
        parts = torch.stack((spectrogram.real, spectrogram.imag), dim=1)
        level = spectrogram.abs().square().mean(dim=(1, 2))[:, None, None, None].sqrt().clamp(min=1e-5)
        self._phase = parts / spectrogram.abs()[:, None].clamp(min=1e-8).pow(0.7) / level.pow(0.3)

    def turn(self, frames: int) -> Tensor:
        """Return the rotation that goes with the last mask, shape (batch, 2, freq, frame)."""
        assert self._turn is not None
        turn = rearrange(
            self._turn.float(),
            "b (k g p) f t -> b k (f g) (t p)",
            k=2,
            g=self.config.bins_per_band,
            p=self.config.frames_per_patch,
        )[..., :frames]
        turn = turn + turn.new_tensor([1.0, 0.0])[None, :, None, None]
        turn = turn / turn.square().sum(dim=1, keepdim=True).clamp(min=1e-6).sqrt()
        return torch.cat((turn, turn[:, :, -1:]), dim=2)

    def forward(self, mixture: Tensor, condition: Tensor) -> Tensor:
        """Separate each channel on its own, as every separator does."""
        batch, channel, time = mixture.shape
        spectrogram = stft(rearrange(mixture, "b c t -> (b c) t"), self.config.n_fft, self.config.hop)
        self.set_mixture(spectrogram)
        mask = self.mask_of_magnitude(spectrogram.abs(), condition.repeat_interleave(channel, dim=0))
        turn = self.turn(mask.shape[-1])
        target = istft(
            spectrogram * torch.complex(mask * turn[:, 0], mask * turn[:, 1]), self.config.n_fft, self.config.hop, time
        )
        return rearrange(target, "(b c) t -> b c t", b=batch)


@torch.no_grad()
def presence_auc(network: SeparatorNetwork, items: Sequence[Item], rivals: Rivals) -> dict[str, float]:
    """As the package's; a network that hears the phase is told the phase first."""
    if not isinstance(network, ComplexUnet):
        return _presence_auc(network, items, rivals)
    plain, mixtures = network.listen, iter([item[0].sum(dim=0) for item in items])

    def listen(magnitude: Tensor) -> list[Tensor]:
        part = torch.stack([next(mixtures) for _ in magnitude])
        network.set_mixture(stft(part, network.config.n_fft, network.config.hop))
        return plain(magnitude)

    with mock.patch.object(network, "listen", listen):
        return _presence_auc(network, items, rivals)


_presence_auc = separator.presence_auc


class _OwnLoss(SeparatorModule, ABC):
    """As the package's, but the error is counted by ``errors``."""

    def batch_loss(self, batch: Any) -> Tensor:
        segments, conditions, wanted, anchors = batch
        config = self.network.config
        with torch.no_grad(), torch.autocast(segments.device.type, enabled=False):
            mixture = stft(segments.sum(dim=1), config.n_fft, config.hop)
            targets = stft(segments[:, :2], config.n_fft, config.hop) * wanted[:, :, None, None]
        if isinstance(self.network, ComplexUnet):
            self.network.set_mixture(mixture)
        mask, logits = answers_for_pairs(self.network, mixture.abs(), conditions)
        loss = self.errors(mask.float(), mixture.repeat_interleave(2, dim=0), targets.flatten(0, 1), wanted.flatten())
        if logits is None or self._rivals is None:
            return loss
        known = pairs_of(anchors, wanted, self._rivals).to(logits.device)
        return loss + self.training_config.presence_weight * presence_loss(logits, known)

    @abstractmethod
    def errors(self, mask: Tensor, mixture: Tensor, targets: Tensor, wanted: Tensor) -> Tensor:
        """Return the loss of masks for mixtures, all of shape (query, freq, frame)."""


class TurnedLoss(_OwnLoss):
    """The package's loss, for a mask that turns the phase."""

    def errors(self, mask: Tensor, mixture: Tensor, targets: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean error in dB, with the floor."""
        assert isinstance(self.network, ComplexUnet)
        turn = self.network.turn(mask.shape[-1])
        real = mask * (turn[:, 0] * mixture.real - turn[:, 1] * mixture.imag) - targets.real
        imaginary = mask * (turn[:, 0] * mixture.imag + turn[:, 1] * mixture.real) - targets.imag
        error = (real.square() + imaginary.square()).sum(dim=(1, 2))
        energy = mixture.abs().square().sum(dim=(1, 2)).clamp(min=1e-8)
        floor = error.new_tensor(self.training_config.floors)[wanted.long()]
        return (10.0 * torch.log10(error / energy + floor)).mean()


class AbsoluteLoss(_OwnLoss):
    """The paper's: the mean absolute error of the waveform; over that of the mixture, as levels vary here."""

    def errors(self, mask: Tensor, mixture: Tensor, targets: Tensor, wanted: Tensor) -> Tensor:
        """Return the mean absolute error."""
        config = self.network.config
        time = (mixture.shape[-1] - 1) * config.hop
        error = istft(mixture * mask - targets, config.n_fft, config.hop, time).abs().mean(dim=1)
        level = istft(mixture, config.n_fft, config.hop, time).abs().mean(dim=1).clamp(min=1e-6)
        return 20.0 * (error / level).mean()


class HalvedLoss(SeparatorModule):
    """The package's loss, of each segment's halves apart: the network hears one second at a time."""

    def batch_loss(self, batch: Any) -> Tensor:
        """As the package's, for twice as many mixtures."""
        segments, *rest = batch
        halves = rearrange(segments, "b s (half t) -> (b half) s t", half=2)
        return super().batch_loss((halves, *(part.repeat_interleave(2, dim=0) for part in rest)))


def vary_by_octaves(wave: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Change speed by up to an octave (most of the time) and colour (half of the time)."""
    if rng.random() < 0.75:
        wave = change_speed(wave, float(2.0 ** rng.uniform(-1.0, 1.0)))
    return equalise(wave, rng) if rng.random() < 0.5 else wave


_NETWORKS: dict[str, Callable[[SeparatorConfig], SeparatorNetwork]] = {
    "shift-only": lambda config: shift_only(CompactUnet(config)),
    "attention": lambda config: with_attention(CompactUnet(config)),
    "separable": lambda config: with_separable_blocks(CompactUnet(config)),
    "complex": ComplexUnet,
}
_LOSSES: dict[str, type[SeparatorModule]] = {
    "complex": TurnedLoss,
    "absolute": AbsoluteLoss,
    "one-second": HalvedLoss,
}
NAMES = sorted({*_NETWORKS, *_LOSSES, "octaves"})


def changed(name: str, where: str = "querysep.training.separator") -> ExitStack:
    """Return a context in which the package trains the variant, or a module builds its network."""
    if name not in NAMES:
        raise SystemExit(f"There is no variant '{name}'. Choose one of: {', '.join(NAMES)}.")
    stack = ExitStack()
    if name in _NETWORKS:
        stack.enter_context(mock.patch(f"{where}.build_separator", _NETWORKS[name]))
    if name in _LOSSES:
        stack.enter_context(mock.patch("querysep.training.separator.SeparatorModule", _LOSSES[name]))
    if name == "complex":
        stack.enter_context(mock.patch("querysep.training.separator.presence_auc", presence_auc))
    if name == "octaves":
        stack.enter_context(mock.patch("querysep.training.separator_items.vary", vary_by_octaves))
    return stack


def variant_of(run: Path) -> ExitStack:
    """Return the context in which a run's weights are loaded; of no variant where it has none."""
    told = run / "variant.txt"
    return changed(told.read_text().strip(), "querysep.model") if told.is_file() else ExitStack()


if __name__ == "__main__":
    variant, *arguments = sys.argv[1:]
    out = Path(arguments[arguments.index("-o") + 1])
    with changed(variant):
        from querysep.cli.main import main  # what it imports must see the change

        out.mkdir(parents=True, exist_ok=True)
        (out / "variant.txt").write_text(variant + "\n")
        sys.exit(main(arguments))
