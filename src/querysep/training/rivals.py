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
        self._known: list[tuple[frozenset[str], frozenset[str]]] = []
        self._of = []
        for anchor in anchors:
            heard = anchor.heard or (anchor.label,)
            key = (heard, anchor.labels)
            if key not in kinds:
                kinds[key] = len(kinds)
                above = frozenset().union(*(relations.ancestors(label) for label in heard))
                self._known.append((frozenset(heard), above | frozenset(heard) | frozenset(anchor.labels)))
            self._of.append(kinds[key])
        labels = sorted(frozenset().union(*(meant for _, meant in self._known)))
        number = {label: place for place, label in enumerate(labels)}
        self._classes = len(labels)
        # the classes of every kind of anchor: a table of kinds by kinds would not fit for a million clips
        self._heard, self._meant = (
            _padded([[number[label] for label in one[which]] for one in self._known], len(labels)) for which in (0, 1)
        )
        self._kinds = torch.tensor(self._of)

    def unrelated(self, first: int, second: int) -> bool:
        """Tell whether two anchors may be mixed."""
        heard, meant = self._known[self._of[first]]
        other_heard, other_meant = self._known[self._of[second]]
        return heard.isdisjoint(other_meant) and other_heard.isdisjoint(meant)

    def table(self, first: Tensor, second: Tensor) -> Tensor:
        """Tell of each of the first anchors and each of the second whether they may be mixed.

        Args:
            first: indices, shape (first,).
            second: indices, shape (second,).

        Returns:
            Shape (first, second), bool, where the first are.
        """
        if self._kinds.device != first.device:
            self._kinds, self._heard, self._meant = (
                one.to(first.device) for one in (self._kinds, self._heard, self._meant)
            )
        heard, meant = (self._classes_of(first, one) for one in (self._heard, self._meant))
        other_heard, other_meant = (self._classes_of(second, one) for one in (self._heard, self._meant))
        return (heard @ other_meant.T + meant @ other_heard.T) == 0

    def _classes_of(self, anchors: Tensor, kinds: Tensor) -> Tensor:
        """Return 1 for each class, 0 for the others, shape (anchor, class)."""
        chosen = torch.zeros(len(anchors), self._classes + 1, device=anchors.device)
        return chosen.scatter_(1, kinds[self._kinds[anchors]].long(), 1.0)[:, :-1]


def _padded(lists: Sequence[Sequence[int]], filling: int) -> Tensor:
    """Return lists of numbers as rows of one length."""
    most = max((len(one) for one in lists), default=0)
    return torch.tensor([[*one, *[filling] * (most - len(one))] for one in lists], dtype=torch.int32)


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
    apart = rivals.table(anchors[:, :2].flatten(), mixed.clamp(min=0).flatten()).reshape(-1, *mixed.shape)
    apart = (apart | (mixed < 0)).all(dim=2).T
    known = torch.where(apart, 0.0, torch.nan)
    own = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device).repeat_interleave(2, dim=1)
    return torch.where(own, wanted.flatten()[None], known)
