"""From the masks of several conditions to those of the targets."""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

_SMALLEST = 1e-6


@dataclass(frozen=True)
class MaskRule:
    """Which conditions make which target, and which are to stay out of all of them.

    Where a target's conditions are alternatives, the largest of their masks counts. What is unwanted competes with the
    target: of a share m that the unwanted n claims as well, the target keeps m / (m + n (1 - m)), so that it gives up
    nothing that is surely its own. Of the rules that were tried this one costs least where the unwanted sound is not
    there, and its gain is clear of zero where it is (benchmarks/not_queries.py).

    Attributes:
        targets: for each target the indices of its conditions, at least one.
        unwanted: indices of the conditions to stay away from.
        shared: whether the targets share the mixture: each takes what its mask claims of what those before it left, so
            they never add up to more than 1.
    """

    targets: tuple[tuple[int, ...], ...]
    unwanted: tuple[int, ...] = ()
    shared: bool = False

    @classmethod
    def each(cls, conditions: int) -> Self:
        """A target for each condition."""
        return cls(tuple((index,) for index in range(conditions)))

    @classmethod
    def largest(cls, conditions: int) -> Self:
        """One target: the largest of all masks."""
        return cls((tuple(range(conditions)),))

    @property
    def plain(self) -> bool:
        """Whether every condition is a target of its own, in order."""
        return (
            not self.unwanted and not self.shared and all(group == (index,) for index, group in enumerate(self.targets))
        )

    def __call__(self, masks: Float[Tensor, "chunk condition row f t"]) -> Float[Tensor, "chunk target row f t"]:
        """Combine the masks, 0..1, of all conditions."""
        if self.plain:
            return masks[:, : len(self.targets)]
        wanted = torch.stack([masks[:, list(group)].amax(dim=1) for group in self.targets], dim=1)
        if self.unwanted:
            other = masks[:, list(self.unwanted)].amax(dim=1, keepdim=True)
            wanted = wanted * (wanted / (wanted + other * (1.0 - wanted)).clamp(min=_SMALLEST))
        if not self.shared:
            return wanted
        claimed = wanted.cumsum(dim=1).clamp(max=1.0)
        return torch.cat((claimed[:, :1], claimed[:, 1:] - claimed[:, :-1]), dim=1)
