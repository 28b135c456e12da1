"""AudioSet's ontology: which class is a kind of which."""

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from querysep.errors import DataError


@dataclass(frozen=True)
class SoundClass:
    """A class of the ontology."""

    id: str
    """A Freebase MID such as ``/m/0bt9lr``, or ``/t/dd...``."""
    name: str
    """AudioSet's display name."""
    index: int | None = None
    """Among the 527 classes that AudioSet labels; None for the others."""
    restrictions: frozenset[str] = frozenset()
    """``abstract``: only groups its children; ``blacklist``: too obscure to label."""
    child_ids: tuple[str, ...] = ()


class Ontology:
    """Classes, each with any number of parents and children."""

    def __init__(self, classes: Iterable[SoundClass]) -> None:
        """Link parents and children.

        Args:
            classes: ids and names are unique.

        Raises:
            DataError: two classes share an id or a name, a child is missing, or a class is its own ancestor.
        """
        self._by_name: dict[str, SoundClass] = {}
        self._by_id: dict[str, SoundClass] = {}
        for one in classes:
            if one.name in self._by_name or one.id in self._by_id:
                raise DataError(f"The ontology has two classes '{one.name}' ({one.id}).")
            self._by_name[one.name] = one
            self._by_id[one.id] = one
        self._children: dict[str, tuple[str, ...]] = {}
        parents: dict[str, list[str]] = defaultdict(list)
        for one in self._by_name.values():
            if missing := [child for child in one.child_ids if child not in self._by_id]:
                raise DataError(f"The ontology's class '{one.name}' has unknown children: {', '.join(missing)}.")
            self._children[one.name] = tuple(self._by_id[child].name for child in one.child_ids)
            for child in self._children[one.name]:
                parents[child].append(one.name)
        self._parents = {name: tuple(parents[name]) for name in self._by_name}
        for name in self._by_name:
            if name in _reach(name, self._parents):
                raise DataError(f"In the ontology '{name}' is a kind of itself.")

    @classmethod
    def from_json(cls, path: Path) -> "Ontology":
        """Read the ontology as AudioSet publishes it.

        Args:
            path: ``ontology.json``.

        Returns:
            The ontology; classes have no indices.

        Raises:
            DataError: the file cannot be read, or is no such list.
        """
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                SoundClass(
                    id=row["id"],
                    name=row["name"],
                    restrictions=frozenset(row.get("restrictions", ())),
                    child_ids=tuple(row.get("child_ids", ())),
                )
                for row in rows
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"Cannot read the ontology '{path}': {type(error).__name__} {error}. "
                "It must be a JSON list of objects with id, name and child_ids."
            ) from error

    @property
    def names(self) -> tuple[str, ...]:
        """The display names of all classes."""
        return tuple(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[SoundClass]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __getitem__(self, name: str) -> SoundClass:
        """Look a class up.

        Args:
            name: its display name.

        Returns:
            The class.

        Raises:
            DataError: there is none of that name.
        """
        if name not in self._by_name:
            raise DataError(f"'{name}' is no class of the ontology.")
        return self._by_name[name]

    def name_of(self, class_id: str) -> str:
        """Give the name that belongs to an id.

        Args:
            class_id: a MID.

        Returns:
            The display name.

        Raises:
            DataError: there is no class of that id.
        """
        if class_id not in self._by_id:
            raise DataError(f"'{class_id}' is no id of the ontology.")
        return self._by_id[class_id].name

    def parents(self, name: str) -> tuple[str, ...]:
        """Name the classes right above.

        Args:
            name: of a class.

        Returns:
            None for a root; for some classes more than one.
        """
        return self._parents[self[name].name]

    def children(self, name: str) -> tuple[str, ...]:
        """Name the classes right below.

        Args:
            name: of a class.

        Returns:
            In the order of the ontology.
        """
        return self._children[self[name].name]

    def ancestors(self, name: str) -> frozenset[str]:
        """Name all classes that a class is a kind of.

        Args:
            name: of a class.

        Returns:
            By whichever parent; without the class itself.
        """
        return _reach(self[name].name, self._parents)

    def descendants(self, name: str) -> frozenset[str]:
        """Name all kinds of a class.

        Args:
            name: of a class.

        Returns:
            Without the class itself.
        """
        return _reach(self[name].name, self._children)

    def related(self, first: str, second: str) -> bool:
        """Say whether two classes may be heard in the same sound by definition.

        Args:
            first: a class; may be unknown to the ontology.
            second: another.

        Returns:
            True where they are the same, or one is an ancestor of the other.
        """
        if first == second:
            return True
        if first not in self or second not in self:
            return False
        return first in self.ancestors(second) or second in self.ancestors(first)


@cache
def audioset() -> Ontology:
    """Read the ontology that is bundled with the library.

    Returns:
        AudioSet's 632 classes, 527 of them with an index. CC BY-SA 4.0, by Google.
    """
    text = files("querysep").joinpath("assets", "ontology", "audioset.csv").read_text(encoding="utf-8")
    return Ontology(
        SoundClass(
            id=row["id"],
            name=row["name"],
            index=int(row["index"]) if row["index"] else None,
            restrictions=frozenset(row["restrictions"].split()),
            child_ids=tuple(row["child_ids"].split()),
        )
        for row in csv.DictReader(text.splitlines())
    )


def _reach(start: str, steps: dict[str, tuple[str, ...]]) -> frozenset[str]:
    """Follow steps as far as they go."""
    found: set[str] = set()
    waiting = list(steps[start])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += steps[name]
    return frozenset(found)
