"""Which anchors may be heard together, and so which query is in which mixture."""

from collections.abc import Sequence

import torch
from torch import Tensor

from querysep.anchors.catalog import Anchor
from querysep.anchors.relations import Relations


class Rivals:
    """Which anchors may be heard in one mixture: a query can mean only one of them.

    That is so where no class that is heard in one of the clips is heard in the other, nor is a kind of one that is.
    """

    def __init__(self, anchors: Sequence[Anchor], relations: Relations) -> None:
        kinds: dict[tuple[tuple[str, ...], ...], int] = {}
        known: list[tuple[frozenset[str], frozenset[str]]] = []
        of = []
        for anchor in anchors:
            heard = anchor.heard or (anchor.label,)
            key = (heard, anchor.labels)
            if key not in kinds:
                kinds[key] = len(kinds)
                above = frozenset().union(*(relations.ancestors(label) for label in heard))
                known.append((frozenset(heard), above | frozenset(heard) | frozenset(anchor.labels)))
            of.append(kinds[key])
        self._of = of
        # (one, other): nothing that is heard in the one is meant by the other
        apart = torch.tensor([[heard.isdisjoint(meant) for _, meant in known] for heard, _ in known])
        self._table = apart & apart.T
        self._lists: list[list[bool]] = self._table.tolist()
        self._places = torch.tensor(of)

    def unrelated(self, first: int, second: int) -> bool:
        """Tell whether two anchors may be mixed."""
        return self._lists[self._of[first]][self._of[second]]

    def table(self, first: Tensor, second: Tensor) -> Tensor:
        """Tell of each of the first anchors and each of the second whether they may be mixed.

        Args:
            first: indices, any shape.
            second: indices, any shape.

        Returns:
            The first's shape, then the second's, bool, where the first are.
        """
        if self._places.device != first.device:
            self._places, self._table = self._places.to(first.device), self._table.to(first.device)
        rows = self._table[self._places[first]]
        return rows[..., self._places[second]]


def pairs_of(anchors: Tensor, wanted: Tensor, rivals: Rivals) -> Tensor:
    """Tell which query of a batch is in which of its mixtures.

    Args:
        anchors: what is asked for and what was mixed, see ``Mix.item``, shape (batch, 2 + source).
        wanted: shape (batch, 2).
        rivals: tells which anchors may be heard together.

    Returns:
        Shape (batch, 2 * batch): 1 where it is there, 0 where it is not, NaN where that is not known.
    """
    mixed = anchors[:, 2:]
    apart = (rivals.table(anchors[:, :2].flatten(), mixed.clamp(min=0)) | (mixed < 0)).all(dim=2).T
    known = torch.where(apart, 0.0, torch.nan)
    own = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device).repeat_interleave(2, dim=1)
    return torch.where(own, wanted.flatten()[None], known)
