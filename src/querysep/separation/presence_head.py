"""Whether a condition's sound is in a mixture at all, told from what the separator's way down gives."""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_NARROW = 32
_COLUMNS = 8  # of the coarsest image that are judged together: 2 s of the default network


class PresenceHead(nn.Module):
    """Compares a vector for each column of the coarsest image with one for the condition.

    The log-odds of a stretch of columns are the soft maximum over them, those of a mixture the largest of its
    stretches: a sound counts where it is heard, and a long mixture is judged as a short one is.

    Args:
        channels: of the image.
        height: of the image.
        condition_dim: size of a condition.
        size: of the compared vectors.
    """

    def __init__(self, channels: int, height: int, condition_dim: int, size: int) -> None:
        super().__init__()
        self.narrow = nn.Conv2d(channels, _NARROW, 1)
        self.key = nn.Conv1d(_NARROW * height, size, 3, padding=1)
        self.query = nn.Sequential(
            nn.LayerNorm(condition_dim), nn.Linear(condition_dim, size), nn.SiLU(), nn.Linear(size, size)
        )
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(
        self, image: Float[Tensor, "batch channel height width"], condition: Float[Tensor, "query condition_dim"]
    ) -> Float[Tensor, "batch query"]:
        """Return the log-odds of each condition in each mixture."""
        columns = rearrange(functional.relu(self.narrow(image)), "b c h w -> b (c h) w")
        keys, queries = self.key(columns), self.query(condition)
        alike = torch.einsum("bdw,qd->bqw", keys, queries) / keys.shape[1] ** 0.5 + self.bias
        count = max(1, round(alike.shape[-1] / _COLUMNS))
        stretches = [alike[..., index * _COLUMNS : (index + 1) * _COLUMNS] for index in range(count - 1)]
        stretches.append(alike[..., (count - 1) * _COLUMNS :])  # a short rest belongs to the last
        return torch.stack([torch.logsumexp(stretch, dim=-1) for stretch in stretches]).amax(dim=0)
