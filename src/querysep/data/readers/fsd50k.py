"""FSD50K: Freesound clips with labels of AudioSet's ontology."""

import csv
import json
from pathlib import Path
from typing import Any

from querysep.data.manifest import Split
from querysep.data.readers.class_names import ClassNames, find_class_names
from querysep.data.readers.folders import add_file
from querysep.data.readers.found import SPLIT_NAMES, Found
from querysep.errors import DataError
from querysep.progress import Progress, silent

SOURCE = "FSD50K"
TRUTH = "FSD50K.ground_truth"
_LICENCES = {
    "publicdomain/zero": "CC0",
    "licenses/by": "CC-BY",
    "licenses/by-nc": "CC-BY-NC",
    "licenses/sampling+": "CC-Sampling+",
}
_NAMES_WITH_AND = {"Dishes_and_pots_and_pans": "Dishes, pots, and pans"}


def find_fsd50k(root: Path, classes: Path | None = None, progress: Progress = silent) -> Found:
    """Read the development and the evaluation set, whichever is there.

    Args:
        root: the folder that holds ``FSD50K.ground_truth``.
        classes: AudioSet's class list or ontology, for the display names; else names are made from FSD50K's.
        progress: told after each clip.

    Returns:
        A clip for each row whose audio is there; the uploader is the origin.

    Raises:
        DataError: a list is missing or broken.
    """
    found = Found(root)
    truth = root / TRUTH
    names = find_class_names(root, classes)
    parts = [part for part in ("dev", "eval") if (truth / f"{part}.csv").is_file()]
    if not parts:
        raise DataError(f"'{truth}' has neither dev.csv nor eval.csv. Unpack FSD50K.ground_truth.zip there.")
    for part in parts:
        _read_part(root, part, names, found, progress)
    return found


def _read_part(root: Path, part: str, names: ClassNames, found: Found, progress: Progress) -> None:
    path = root / TRUTH / f"{part}.csv"
    info = _clips_info(root / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json", found)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        missing = {"fname", "labels", "mids"} - set(rows[0] if rows else ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read '{path}': {error}.") from error
    if missing:
        raise DataError(f"'{path}' lacks the columns {', '.join(sorted(missing))}; FSD50K's own file has them.")
    for done, row in enumerate(rows):
        progress(done, len(rows), f"reading {part}")
        about = info.get(row["fname"], {})
        split: Split = "test" if part == "eval" else SPLIT_NAMES.get(row.get("split") or "train", "train")
        add_file(
            found,
            f"FSD50K.{part}_audio/{row['fname']}.wav",
            _labels(row["labels"], row["mids"], names),
            licence=_licence(str(about.get("license", ""))),
            source=SOURCE,
            origin=f"freesound:{about['uploader']}" if about.get("uploader") else f"freesound:{row['fname']}",
            split=split,
        )


def _clips_info(path: Path, found: Found) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        found.warnings.append(f"There is no '{path.name}', so licences and uploaders are not known.")
        return {}
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read '{path}': {error}.") from error
    if not isinstance(info, dict):
        raise DataError(f"'{path}' is not an object with a clip for each key, as FSD50K's own file is.")
    return info


def _labels(labels: str, mids: str, names: ClassNames) -> tuple[str, ...]:
    given, ids = labels.split(","), mids.split(",")
    if len(given) != len(ids):
        ids = [""] * len(given)
    return tuple(
        dict.fromkeys(names.names.get(mid, display_name(label)) for label, mid in zip(given, ids, strict=True))
    )


def display_name(label: str) -> str:
    """Return AudioSet's display name of a class as FSD50K writes it, such as ``Walk_and_footsteps``."""
    return _NAMES_WITH_AND.get(label) or label.replace("_and_", ", ").replace("_", " ")


def _licence(url: str) -> str:
    """Return a short name for a licence's address: CC-BY-4.0."""
    _, _, tail = url.partition("creativecommons.org/")
    parts = tail.strip("/").split("/")
    short = _LICENCES.get("/".join(parts[:2]))
    return f"{short}-{parts[2]}" if short and len(parts) > 2 else url
