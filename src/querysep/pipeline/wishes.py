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


_Pair = tuple[Tensor, Tensor]  # a vector and its profile


@dataclass(frozen=True)
class Arranged:
    """What the separator is asked for.

    Attributes:
        vectors: the conditions.
        profiles: the classes that the detector hears in the queries behind them.
        rule: how their masks become those of the targets.
    """

    vectors: Float[Tensor, "condition condition_dim"]
    profiles: Float[Tensor, "condition class"]
    rule: MaskRule


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

    def arranged(self) -> Arranged:
        """Give all vectors and the rule for their masks."""
        groups = [self._asked([self.wanted[index] for index in group]) for group in self.groups()]
        groups.append([one for condition in self.unwanted for one in _pairs(condition)])
        places: list[tuple[int, ...]] = []
        start = 0
        for group in groups:
            places.append(tuple(range(start, start + len(group))))
            start += len(group)
        vectors, profiles = (
            torch.stack(side) for side in zip(*(one for group in groups for one in group), strict=True)
        )
        return Arranged(vectors, profiles, MaskRule(tuple(places[:-1]), places[-1]))

    def _asked(self, conditions: Sequence[Condition]) -> list[_Pair]:
        """Return the vectors that ask for one target, each with its profile."""
        pairs = [one for condition in conditions for one in _pairs(condition)]
        if self.combine != "mean":
            return pairs
        vectors, profiles = zip(*pairs, strict=True)
        return [(torch.stack(vectors).mean(dim=0), torch.stack(profiles).mean(dim=0))]

    def of_each(self, scores: Sequence[float]) -> tuple[list[float], list[float]]:
        """Share out what was found for each arranged vector among the wanted and the unwanted queries.

        Queries that are averaged into one have its score; those whose examples were all left out have 0.
        """
        left = list(scores)
        if self.combine == "mean":
            one = left.pop(0)
            wanted = [one if len(condition.vectors) else 0.0 for condition in self.wanted]
        else:
            wanted = [max((left.pop(0) for _ in condition.vectors), default=0.0) for condition in self.wanted]
        return wanted, [max((left.pop(0) for _ in condition.vectors), default=0.0) for condition in self.unwanted]

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


def _pairs(condition: Condition) -> list[_Pair]:
    return list(zip(condition.vectors, condition.profiles, strict=True))
