"""What is asked for and what is to stay out, as the separator takes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from querysep.queries.condition import Condition
from querysep.separation.mask_rule import MaskRule

Combine = Literal["mean", "each", "max"]
_NEARLY_THE_SAME = 0.99  # cosine; means of many examples are all rather alike


@dataclass(frozen=True)
class Wishes:
    """Resolved queries.

    Attributes:
        wanted: at least one.
        combine: "mean" averages the conditions, "max" takes the largest mask, "each" keeps them apart.
        unwanted: what is to stay out of every target.
    """

    wanted: tuple[Condition, ...]
    combine: Combine = "mean"
    unwanted: tuple[Condition, ...] = ()

    def groups(self) -> list[list[int]]:
        """Give for each target the indices of the queries that ask for it."""
        everything = list(range(len(self.wanted)))
        return [[index] for index in everything] if self.combine == "each" else [everything]

    def arranged(self) -> tuple[Float[Tensor, "condition condition_dim"], MaskRule]:
        """Give all vectors and the rule for their masks."""
        groups = [list(self._vectors([self.wanted[index] for index in group])) for group in self.groups()]
        groups.append([vector for condition in self.unwanted for vector in condition.vectors])
        vectors = torch.stack([vector for group in groups for vector in group])
        places: list[tuple[int, ...]] = []
        start = 0
        for group in groups:
            places.append(tuple(range(start, start + len(group))))
            start += len(group)
        return vectors, MaskRule(tuple(places[:-1]), places[-1])

    def _vectors(self, conditions: Sequence[Condition]) -> Tensor:
        """Return the vectors that ask for one target."""
        vectors = torch.cat([condition.vectors for condition in conditions])
        return vectors.mean(dim=0, keepdim=True) if self.combine == "mean" else vectors

    def clash(self) -> str | None:
        """Tell whether the same thing is wanted and unwanted."""
        for one in self.wanted:
            for other in self.unwanted:
                cosines = functional.normalize(one.vectors, dim=1) @ functional.normalize(other.vectors, dim=1).T
                if cosines.numel() and float(cosines.max()) > _NEARLY_THE_SAME:
                    return (
                        f"'{one.query.text}' and --not '{other.query.text}' ask for nearly the same sound; "
                        "what both claim is shared out."
                    )
        return None
