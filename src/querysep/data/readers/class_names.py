"""AudioSet's class names: from the files that come with it, or from the ontology that we carry."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from querysep.errors import DataError

CLASSES_FILE = "class_labels_indices.csv"
ONTOLOGY_FILE = "ontology.json"
_BESIDE = (".", "metadata", "meta", "csv", "csvs", "..", "../metadata", "../..", "../../metadata")


@dataclass(frozen=True)
class ClassNames:
    """What is known of the classes.

    Attributes:
        names: display name by machine id, such as ``/m/0bt9lr``.
        ordered: display names in the order of the class index; empty where no list was found.
        depths: how far below the ontology's top a class is, by name; empty where no ontology was found.
    """

    names: dict[str, str]
    ordered: tuple[str, ...]
    depths: dict[str, int]

    def most_specific_first(self, labels: list[str]) -> tuple[str, ...]:
        """Return labels without repeats, the deepest in the ontology first."""
        unique = list(dict.fromkeys(labels))
        return tuple(sorted(unique, key=lambda label: -self.depths.get(label, 0)))


def find_class_names(folder: Path, given: Path | None = None) -> ClassNames:
    """Look for class lists beside a data set.

    Args:
        folder: of the data set; the folders around it are looked at too.
        given: a class list or an ontology of the user's choice, which must be there.

    Returns:
        What was found; of the ontology that we carry where there is nothing.

    Raises:
        DataError: the file given cannot be read.
    """
    ontology = folder / ONTOLOGY_FILE
    classes = None
    for place in _BESIDE:
        classes = classes or _if_file(folder / place / CLASSES_FILE)
        ontology = ontology if ontology.is_file() else folder / place / ONTOLOGY_FILE
    if given is not None:
        classes, ontology = (classes, given) if given.suffix == ".json" else (given, ontology)
    rows = _read_classes(classes) if classes else []
    names, depths = _read_ontology(ontology) if ontology.is_file() or ontology == given else _bundled()
    ordered = tuple(name for _, name in rows)
    return ClassNames(names | dict(rows), ordered or _bundled_order(), depths)


def _if_file(path: Path) -> Path | None:
    return path if path.is_file() else None


def _read_classes(path: Path) -> list[tuple[str, str]]:
    """Return machine id and name of each class, in order."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: int(row["index"]))
        return [(row["mid"], row["display_name"]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"'{path}' is not a list of classes ({error}). It needs the columns index, mid and display_name, "
            "as AudioSet's class_labels_indices.csv has them."
        ) from error


def _read_ontology(path: Path) -> tuple[dict[str, str], dict[str, int]]:
    try:
        nodes = json.loads(path.read_text(encoding="utf-8"))
        names = {node["id"]: node["name"] for node in nodes}
        children = {node["id"]: tuple(node["child_ids"]) for node in nodes}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{path}' is not AudioSet's ontology ({error}).") from error
    return names, {names[mid]: depth for mid, depth in depths_of(children).items() if mid in names}


def depths_of(children: dict[str, tuple[str, ...]]) -> dict[str, int]:
    """Return the length of the longest way from the top to every node.

    Args:
        children: of every node; some nodes have several parents.
    """
    below = {child for group in children.values() for child in group}
    depths = {node: 0 for node in children if node not in below}
    layer, depth = set(depths), 0
    while layer and depth < len(children):
        depth += 1
        layer = {child for node in layer for child in children.get(node, ())}
        depths.update(dict.fromkeys(layer, depth))
    return depths


def _bundled() -> tuple[dict[str, str], dict[str, int]]:
    return {}, {}


def _bundled_order() -> tuple[str, ...]:
    return ()
