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
MOST_ALTERNATIVES = 16
_NEARLY_THE_SAME = 0.99  # cosine; means of many examples are all rather alike


@dataclass(frozen=True)
class Arranged:
    """What the separator is asked for.

    Attributes:
        vectors: the conditions.
        profiles: the classes that the detector hears in the queries behind them.
        rule: how their masks become those of the targets.
        places: for each vector of the wanted queries and then of the unwanted ones, which condition it went into.
    """

    vectors: Float[Tensor, "condition condition_dim"]
    profiles: Float[Tensor, "condition class"]
    rule: MaskRule
    places: tuple[int, ...]


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
        """Give all conditions and the rule for their masks.

        Of more than 16 alternatives the most alike are averaged until 16 are left: each costs a run of the network.
        """
        groups = [[self.wanted[index] for index in group] for group in self.groups()]
        vectors: list[Tensor] = []
        profiles: list[Tensor] = []
        members: list[tuple[int, ...]] = []
        places: list[int] = []
        for group in (*groups, list(self.unwanted)):
            own = torch.cat([condition.vectors for condition in group]) if group else None
            shares = [] if own is None else self._shares(own, wanted=len(members) < len(groups))
            members.append(tuple(range(len(vectors), len(vectors) + max(shares, default=-1) + 1)))
            places += [members[-1][share] for share in shares]
            if own is not None:
                vectors += _means(own, shares)
                profiles += _means(torch.cat([condition.profiles for condition in group]), shares)
        rule = MaskRule(tuple(members[:-1]), members[-1])
        return Arranged(torch.stack(vectors), torch.stack(profiles), rule, tuple(places))

    def _shares(self, vectors: Tensor, *, wanted: bool) -> list[int]:
        """Tell which vectors are averaged: the same number for those that are."""
        if wanted and self.combine == "mean":
            return [0] * len(vectors)
        return alike(vectors, MOST_ALTERNATIVES)

    def of_each(self, arranged: Arranged, scores: Sequence[float]) -> tuple[list[float], list[float]]:
        """Share out what was found for each condition among the wanted and the unwanted queries.

        Queries that are averaged into one have its score; those whose examples were all left out have 0.
        """
        places = iter(arranged.places)
        wanted, unwanted = (
            [max((scores[next(places)] for _ in condition.vectors), default=0.0) for condition in conditions]
            for conditions in (self.wanted, self.unwanted)
        )
        return wanted, unwanted

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


def alike(vectors: Float[Tensor, "one condition_dim"], most: int) -> list[int]:
    """Number vectors so that at most ``most`` numbers are left, and those that are most alike share one.

    The two groups whose means point in the most similar directions are joined until few enough are left.
    """
    means = functional.normalize(vectors.double().cpu(), dim=1)
    counts = torch.ones(len(vectors), dtype=torch.float64)
    groups = [[index] for index in range(len(vectors))]
    cosines = (means @ means.T).fill_diagonal_(-torch.inf)
    for _ in range(len(vectors) - most):
        one, other = sorted(divmod(int(cosines.argmax()), len(vectors)))
        groups[one] += groups[other]
        joined = means[one] * counts[one] + means[other] * counts[other]
        counts[one] += counts[other]
        means[one] = functional.normalize(joined, dim=0)
        cosines[one] = cosines[:, one] = means @ means[one]
        gone = [index for index, group in enumerate(groups) if index == other or not group]
        groups[other] = []
        cosines[gone], cosines[:, gone] = -torch.inf, -torch.inf
        cosines[one, one] = -torch.inf
    shares = [0] * len(vectors)
    for number, group in enumerate(group for group in groups if group):
        for index in group:
            shares[index] = number
    return shares


def _means(rows: Tensor, shares: Sequence[int]) -> list[Tensor]:
    """Average the rows that have the same number."""
    numbers = torch.tensor(shares, device=rows.device)
    return [rows[numbers == number].mean(dim=0) for number in range(max(shares, default=-1) + 1)]
