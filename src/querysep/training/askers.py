"""Which recordings may ask for a sound: others of its class, as when the separator is evaluated."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from querysep.anchors.catalog import Anchor
from querysep.training.rivals import Rivals


class Askers:
    """Finds the anchors that may ask for another.

    Args:
        anchors: of the catalog.
    """

    def __init__(self, anchors: Sequence[Anchor]) -> None:
        self._anchors = anchors
        self._apart = [_numbered([a.origin for a in anchors]), _numbered([a.clip for a in anchors])]

    def of(self, index: int, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of a class that may ask for one of them: of other origins, else of other clips, else none."""
        for names in self._apart:
            others: NDArray[np.int64] = members[names[members] != names[index]]
            if len(others):
                return others
        return members[:0]

    def askable(self, by_class: Mapping[str, Sequence[int]], rivals: Rivals) -> list[str]:
        """Return the classes that another origin can ask for; all of them, where no two such may be mixed."""
        several = [
            label for label, members in by_class.items() if len({self._anchors[one].origin for one in members}) > 1
        ]
        firsts = [by_class[label][0] for label in several]
        mixed = any(rivals.unrelated(one, other) for one, other in combinations(firsts, 2))
        return several if mixed else list(by_class)


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each name, the same for the same; an array of the names would fill memory for AudioSet."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)
