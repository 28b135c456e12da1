"""Which classes are kinds of which: from an ontology where it knows them, else from the labels of the clips."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Protocol

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
