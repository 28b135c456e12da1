"""Shifted-window attention blocks (Liu et al., 2021), the body of the audio transformer."""

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional


def relative_position_index(side: int) -> Int[Tensor, "token token"]:
    """Return, for each pair of tokens in a window, the row of the bias table, shape (side**2, side**2)."""
    rows, cols = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    rows, cols = rows.flatten(), cols.flatten()
    down = rows[:, None] - rows[None, :] + side - 1
    across = cols[:, None] - cols[None, :] + side - 1
    return down * (2 * side - 1) + across


def shifted_window_mask(resolution: int, side: int, shift: int) -> Float[Tensor, "window token token"]:
    """Return -100 where two tokens of a shifted window come from opposite edges of the image, else 0."""
    band = torch.zeros(resolution, dtype=torch.long)
    band[-side:-shift] = 1
    band[-shift:] = 2
    region = band[:, None] * 3 + band[None, :]
    windows = rearrange(region, "(h a) (w b) -> (h w) (a b)", a=side, b=side)
    return torch.where(windows[:, None, :] == windows[:, :, None], 0.0, -100.0)


class WindowAttention(nn.Module):
    """Multi-head attention inside windows, with a learned bias for each relative position."""

    position_index: Tensor

    def __init__(self, dim: int, heads: int, side: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2, heads))
        self.register_buffer("position_index", relative_position_index(side), persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(
        self, tokens: Float[Tensor, "windows token dim"], mask: Float[Tensor, "mask token token"] | None
    ) -> Float[Tensor, "windows token dim"]:
        """Attend within each window; ``mask`` holds one pattern for each window of an image."""
        query, key, value = rearrange(self.qkv(tokens), "n t (k h d) -> k n h t d", k=3, h=self.heads)
        bias = rearrange(self.relative_position_bias_table[self.position_index], "a b h -> 1 h a b")
        if mask is not None:
            images = tokens.shape[0] // mask.shape[0]
            bias = (bias + mask[:, None]).repeat(images, 1, 1, 1)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
        projected: Tensor = self.dropout(self.proj(rearrange(attended, "n h t d -> n t (h d)")))
        return projected


class Mlp(nn.Module):
    """Two linear layers around a GELU."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """Transform each token alone."""
        out: Tensor = self.dropout(self.fc2(self.dropout(functional.gelu(self.fc1(tokens)))))
        return out


class DropPath(nn.Module):
    """Skip a residual branch for random items of a batch while training (Huang et al., 2016)."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Float[Tensor, "batch *rest"]) -> Float[Tensor, "batch *rest"]:
        """Return the branch, zeroed for some items and scaled up for the others."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = torch.rand(branch.shape[0], *([1] * (branch.ndim - 1)), device=branch.device) >= self.rate
        return branch * keep / (1.0 - self.rate)


class SwinBlock(nn.Module):
    """Attention in windows, then a hidden layer, each with a residual path."""

    mask: Tensor | None

    def __init__(
        self,
        dim: int,
        resolution: int,
        heads: int,
        window_size: int,
        shifted: bool,
        mlp_ratio: float,
        dropout: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.side = min(window_size, resolution)
        self.shift = window_size // 2 if shifted and resolution > window_size else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, self.side, dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dropout)
        self.drop_path = DropPath(drop_path)
        mask = shifted_window_mask(resolution, self.side, self.shift) if self.shift else None
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, tokens: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch token dim"]:
        """Transform tokens of a square image."""
        image = rearrange(self.norm1(tokens), "b (h w) c -> b h w c", h=self.resolution)
        if self.shift:
            image = torch.roll(image, (-self.shift, -self.shift), dims=(1, 2))
        windows = rearrange(image, "b (h a) (w z) c -> (b h w) (a z) c", a=self.side, z=self.side)
        count = self.resolution // self.side
        image = rearrange(
            self.attn(windows, self.mask), "(b h w) (a z) c -> b (h a) (w z) c", h=count, w=count, a=self.side
        )
        if self.shift:
            image = torch.roll(image, (self.shift, self.shift), dims=(1, 2))
        tokens = tokens + self.drop_path(rearrange(image, "b h w c -> b (h w) c"))
        out: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return out


class PatchMerging(nn.Module):
    """Halve the image's sides and double its channels."""

    def __init__(self, dim: int, resolution: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, tokens: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch merged doubled"]:
        """Merge each 2 x 2 neighbourhood: order (top left, bottom left, top right, bottom right)."""
        merged = rearrange(tokens, "b (h a w z) c -> b (h w) (z a c)", h=self.resolution // 2, a=2, z=2)
        out: Tensor = self.reduction(self.norm(merged))
        return out


class Stage(nn.Module):
    """Blocks at one resolution, plain and shifted in turn, then a merging (but for the last stage)."""

    def __init__(
        self,
        dim: int,
        resolution: int,
        depth: int,
        heads: int,
        window_size: int,
        mlp_ratio: float,
        dropout: float,
        drop_paths: list[float],
        merge: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            SwinBlock(dim, resolution, heads, window_size, index % 2 == 1, mlp_ratio, dropout, drop_paths[index])
            for index in range(depth)
        )
        self.downsample = PatchMerging(dim, resolution) if merge else None

    def forward(self, tokens: Float[Tensor, "batch token dim"]) -> Float[Tensor, "batch merged widened"]:
        """Transform tokens of a square image."""
        for block in self.blocks:
            tokens = block(tokens)
        return tokens if self.downsample is None else self.downsample(tokens)
