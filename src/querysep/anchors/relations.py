"""Which classes are kinds of which, and so which anchors may sound in one mixture."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from querysep.anchors.catalog import Anchor
from querysep.data.ontology import audioset

_FEWEST_CLIPS = 3  # of a class before its labels say anything about it


class Hierarchy(Protocol):
    """An ontology of classes, as far as it is needed here."""

    def __contains__(self, label: object) -> bool:
        """Tell whether the class is known."""
        ...

    def ancestors(self, label: str) -> Collection[str]:
        """Return the classes that a known class is a kind of."""
        ...


class Relations:
    """Which classes are kinds of which.

    An ontology decides where it knows both classes. For others the labels of the clips do: a class of at least three
    clips is a kind of another that stands behind it in all of them.
    """

    def __init__(self, label_sets: Iterable[tuple[str, ...]], hierarchy: Hierarchy | None = None) -> None:
        self._ancestors: dict[str, frozenset[str]] = {}
        self._heard: dict[tuple[str, ...], tuple[str, ...]] = {}
        clips: Counter[str] = Counter()
        followed: Counter[tuple[str, str]] = Counter()
        for labels, count in Counter(label_sets).items():
            for place, label in enumerate(labels):
                clips[label] += count
                for later in labels[place + 1 :]:
                    followed[label, later] += count
        found: dict[str, set[str]] = {}
        for (label, later), count in followed.items():
            told = hierarchy is not None and label in hierarchy and later in hierarchy
            if not told and count == clips[label] >= _FEWEST_CLIPS:
                found.setdefault(label, set()).add(later)
        self._found = found
        self._hierarchy = hierarchy

    def ancestors(self, label: str) -> frozenset[str]:
        """Return the classes that a class is a kind of."""
        if label not in self._ancestors:
            known = self._hierarchy is not None and label in self._hierarchy
            told = self._hierarchy.ancestors(label) if self._hierarchy is not None and known else ()
            self._ancestors[label] = frozenset(told) | self._found.get(label, set())
        return self._ancestors[label]

    def related(self, first: str, second: str) -> bool:
        """Tell whether two classes are the same or one is a kind of the other."""
        return first == second or first in self.ancestors(second) or second in self.ancestors(first)

    def heard(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return those labels of a clip that no more specific label of it implies."""
        if labels not in self._heard:
            implied = set().union(*(self.ancestors(label) - {label} for label in labels))
            self._heard[labels] = tuple(label for label in labels if label not in implied)
        return self._heard[labels]


def relations_of(label_sets: Iterable[tuple[str, ...]]) -> Relations:
    """Return the relations of the classes of a data set, by AudioSet's ontology where it knows them."""
    return Relations(label_sets, audioset())


class AnchorRelations:
    """Which anchors may sound in one mixture, so that a query can mean only one of them.

    They may where no class of one clip is a class of the other, or a kind of one.

    Args:
        anchors: of a catalog.
        relations: of their classes.
    """

    def __init__(self, anchors: Sequence[Anchor], relations: Relations) -> None:
        numbers: dict[tuple[tuple[str, ...], ...], int] = {}
        self._classes: list[tuple[frozenset[str], frozenset[str]]] = []
        self._group_of = []
        for anchor in anchors:
            specific = anchor.heard or (anchor.label,)
            key = (specific, anchor.labels)
            if key not in numbers:
                numbers[key] = len(numbers)
                above = frozenset().union(*(relations.ancestors(label) for label in specific))
                self._classes.append((frozenset(specific), above | frozenset(specific) | frozenset(anchor.labels)))
            self._group_of.append(numbers[key])
        labels = sorted(frozenset().union(*(every for _, every in self._classes)))
        number = {label: place for place, label in enumerate(labels)}
        self._count = len(labels)
        # A table of the classes of each group of anchors; one of groups by groups would not fit for a million clips.
        self._specific, self._every = (
            _padded([[number[label] for label in one[which]] for one in self._classes], len(labels)) for which in (0, 1)
        )
        self._groups = torch.tensor(self._group_of)

    def unrelated(self, first: int, second: int) -> bool:
        """Tell whether two anchors may be mixed."""
        specific, every = self._classes[self._group_of[first]]
        other_specific, other_every = self._classes[self._group_of[second]]
        return specific.isdisjoint(other_every) and other_specific.isdisjoint(every)

    def table(self, first: Tensor, second: Tensor) -> Tensor:
        """Tell of each of the first anchors and each of the second whether they may be mixed.

        Args:
            first: indices, shape (first,).
            second: indices, shape (second,).

        Returns:
            Shape (first, second), bool, on the device of the first.
        """
        if self._groups.device != first.device:
            self._groups, self._specific, self._every = (
                one.to(first.device) for one in (self._groups, self._specific, self._every)
            )
        specific, every = (self._one_hot(first, one) for one in (self._specific, self._every))
        other_specific, other_every = (self._one_hot(second, one) for one in (self._specific, self._every))
        return (specific @ other_every.T + every @ other_specific.T) == 0

    def _one_hot(self, anchors: Tensor, classes: Tensor) -> Tensor:
        """Return 1 for each class of each anchor, 0 for the others, shape (anchor, class)."""
        chosen = torch.zeros(len(anchors), self._count + 1, device=anchors.device)
        return chosen.scatter_(1, classes[self._groups[anchors]].long(), 1.0)[:, :-1]


def _padded(lists: Sequence[Sequence[int]], filling: int) -> Tensor:
    """Return lists of numbers as rows of one length."""
    most = max((len(one) for one in lists), default=0)
    return torch.tensor([[*one, *[filling] * (most - len(one))] for one in lists], dtype=torch.int32)
