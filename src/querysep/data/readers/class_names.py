"""AudioSet's class names: from the files that come with a data set, or from the ontology that we carry."""

import csv
from dataclasses import dataclass
from pathlib import Path

from querysep.data.ontology import Ontology, audioset
from querysep.errors import DataError

CLASSES_FILE = "class_labels_indices.csv"
ONTOLOGY_FILE = "ontology.json"
_BESIDE = (".", "metadata", "meta", "csv", "csvs", "..", "../metadata", "../..", "../../metadata")


@dataclass(frozen=True)
class ClassNames:
    """What is known of the classes.

    Attributes:
        names: display name by machine id, such as ``/m/0bt9lr``.
        ordered: display names in the order of the class index.
        from_list: a class list was found; else names and order are those of the ontology that we carry.
        ontology: which class is a kind of which.
    """

    names: dict[str, str]
    ordered: tuple[str, ...]
    from_list: bool
    ontology: Ontology

    def most_specific_first(self, labels: list[str]) -> tuple[str, ...]:
        """Return labels without repeats, those with most ancestors in the ontology first."""

        def ancestors(label: str) -> int:
            return len(self.ontology.ancestors(label)) if label in self.ontology else 0

        return tuple(sorted(dict.fromkeys(labels), key=ancestors, reverse=True))


def find_class_names(folder: Path, given: Path | None = None) -> ClassNames:
    """Look for class lists beside a data set.

    Args:
        folder: of the data set; the folders around it are looked at too.
        given: a class list or an ontology (``.json``) of the user's choice.

    Returns:
        What was found; of the ontology that we carry where there is nothing.

    Raises:
        DataError: a list or ontology cannot be read.
    """
    classes, tree = _near(folder, CLASSES_FILE), _near(folder, ONTOLOGY_FILE)
    if given is not None:
        classes, tree = (classes, given) if given.suffix == ".json" else (given, tree)
    carried = audioset()
    ontology = carried if tree is None else Ontology.from_json(tree)
    names = {one.id: one.name for one in (*carried, *ontology)}
    if classes is None:
        indexed = sorted((one.index, one.name) for one in carried if one.index is not None)
        return ClassNames(names, tuple(name for _, name in indexed), False, ontology)
    rows = _read_classes(classes)
    return ClassNames(names | dict(rows), tuple(name for _, name in rows), True, ontology)


def _near(folder: Path, name: str) -> Path | None:
    places = (folder / place / name for place in _BESIDE)
    return next((path for path in places if path.is_file()), None)


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
