"""Other networks than the package's: python networks.py NAME ANCHORS DETECTOR -o RUN [--config FILE ...].

These are experiments (experiments/README.md): what wins is built into the package, what loses stays here. The run is
that of `querysep train separator` but for the network. Its folder names the network in network.txt, so that
compare_runs.py can load it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from querysep.model import load_detector, load_preset
from querysep.progress import silent
from querysep.separation.build import build_separator
from querysep.separation.compact import CompactUnet, ResidualBlock, UpBlock
from querysep.separation.config import SeparatorConfig
from querysep.separation.network import SeparatorNetwork
from querysep.training.config import SeparatorTraining
from querysep.training.run_folder import read_config, settings_of
from querysep.training.separator import Provenance, train_separator

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


NETWORKS: dict[str, Callable[[CompactUnet], CompactUnet]] = {
    "shift-only": shift_only,
    "attention": with_attention,
    "separable": with_separable_blocks,
}


def builder(name: str) -> Callable[[SeparatorConfig], SeparatorNetwork]:
    """Return what makes a network of a name."""

    def build(config: SeparatorConfig) -> SeparatorNetwork:
        network = build_separator(config)
        assert isinstance(network, CompactUnet)
        return NETWORKS[name](network)

    return build


def builder_of(run: Path) -> Callable[[SeparatorConfig], SeparatorNetwork]:
    """Return what makes the network of a run: the package's, unless network.txt names another."""
    named = run / "network.txt"
    return builder(named.read_text().strip()) if named.is_file() else build_separator


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(NETWORKS))
    parser.add_argument("anchors")
    parser.add_argument("detector", type=Path)
    parser.add_argument("-o", dest="run", type=Path, required=True)
    parser.add_argument("--config", action="append", type=Path, default=[])
    given = parser.parse_args()
    settings: dict[str, Any] = {}
    for path in given.config:
        settings |= read_config(path)[1]
    given.run.mkdir(parents=True, exist_ok=True)
    (given.run / "network.txt").write_text(given.name + "\n")
    train_separator(
        given.anchors,
        load_detector(given.detector),
        load_preset("default").separator,
        settings_of(SeparatorTraining, None, {}, settings),
        given.run,
        Provenance(given.name, "not stated", "not stated"),
        silent,
        build=builder(given.name),
    )


if __name__ == "__main__":
    main()
