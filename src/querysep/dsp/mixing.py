"""Energy-normalised mixing of two anchor segments, as the paper trains with (Section 3.2)."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Mixture:
    """Two segments of equal energy and their sum, each of shape (batch, time)."""

    mixture: Tensor
    first: Tensor
    second: Tensor


def equal_energy_gain(
    first: Float[Tensor, "batch time"], second: Float[Tensor, "batch time"]
) -> Float[Tensor, "batch 1"]:
    """Return the gain that brings ``second`` to the energy of ``first``, limited to 0.02..50 (-34..34 dB)."""
    wanted = first.square().mean(dim=-1, keepdim=True)
    present = second.square().mean(dim=-1, keepdim=True).clamp(min=1e-8)
    return torch.sqrt(wanted / present).clamp(0.02, 50.0)


def mix_equal_energy(first: Float[Tensor, "batch time"], second: Float[Tensor, "batch time"]) -> Mixture:
    """Scale ``second`` to the energy of ``first`` and add them. Neither argument is changed."""
    scaled = second * equal_energy_gain(first, second)
    return Mixture(mixture=first + scaled, first=first, second=scaled)
