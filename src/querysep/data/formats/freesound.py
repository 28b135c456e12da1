"""Clips from Freesound: FSD50K, with labels of AudioSet's ontology; ESC-50, 2,000 clips of 5 s in 50 classes."""

import csv
import json
from pathlib import Path
from typing import Any

from querysep.data.formats.audioset import ClassNames, find_class_names
from querysep.data.formats.files import SPLIT_NAMES, Found, add_file
from querysep.data.manifest import Split
from querysep.errors import DataError
from querysep.progress import Progress, silent

FSD50K_LISTS = "FSD50K.ground_truth"
ESC50_LIST = "meta/esc50.csv"
_ESC50_TEST_FOLD = "5"
_LICENCES = {
    "publicdomain/zero": "CC0",
    "licenses/by": "CC-BY",
    "licenses/by-nc": "CC-BY-NC",
    "licenses/sampling+": "CC-Sampling+",
}
_NAMES_WITH_AND = {"Dishes_and_pots_and_pans": "Dishes, pots, and pans"}

ESC50_DISPLAY_NAMES: dict[str, tuple[str, ...]] = {
    "airplane": ("Fixed-wing aircraft, airplane",),
    "breathing": ("Breathing",),
    "brushing_teeth": ("Toothbrush",),
    "car_horn": ("Vehicle horn, car horn, honking",),
    "cat": ("Cat",),
    "chainsaw": ("Chainsaw",),
    "chirping_birds": ("Chirp, tweet",),
    "church_bells": ("Church bell",),
    "clapping": ("Clapping",),
    "clock_alarm": ("Alarm clock",),
    "clock_tick": ("Tick-tock",),
    "coughing": ("Cough",),
    "cow": ("Cattle, bovinae",),
    "crackling_fire": ("Fire",),
    "crickets": ("Cricket",),
    "crow": ("Crow",),
    "crying_baby": ("Baby cry, infant cry",),
    "dog": ("Dog",),
    "door_wood_creaks": ("Creak",),
    "door_wood_knock": ("Knock",),
    "engine": ("Engine",),
    "fireworks": ("Fireworks",),
    "footsteps": ("Walk, footsteps",),
    "frog": ("Frog",),
    "glass_breaking": ("Shatter",),
    "hand_saw": ("Sawing",),
    "helicopter": ("Helicopter",),
    "hen": ("Cluck", "Chicken, rooster"),
    "insects": ("Insect",),
    "keyboard_typing": ("Computer keyboard",),
    "laughing": ("Laughter",),
    "pig": ("Pig",),
    "pouring_water": ("Pour",),
    "rain": ("Rain",),
    "rooster": ("Crowing, cock-a-doodle-doo", "Chicken, rooster"),
    "sea_waves": ("Waves, surf",),
    "sheep": ("Sheep",),
    "siren": ("Siren",),
    "sneezing": ("Sneeze",),
    "snoring": ("Snoring",),
    "thunderstorm": ("Thunderstorm",),
    "toilet_flush": ("Toilet flush",),
    "train": ("Train",),
    "vacuum_cleaner": ("Vacuum cleaner",),
    "water_drops": ("Drip",),
    "wind": ("Wind",),
}
"""AudioSet's names for what is the same; can_opening, drinking_sipping, mouse_click and washing_machine have none."""


def find_fsd50k(root: Path, classes: Path | None = None, progress: Progress = silent) -> Found:
    """Read the development and the evaluation set, whichever is there.

    Args:
        root: the folder that holds ``FSD50K.ground_truth``.
        classes: AudioSet's class list or ontology, for the display names; else names are made from FSD50K's.
        progress: called after each clip.

    Returns:
        A clip for each row whose audio is there; the uploader is the origin.

    Raises:
        DataError: a list is missing or broken.
    """
    found = Found(root)
    lists = root / FSD50K_LISTS
    names = find_class_names(root, classes)
    parts = [part for part in ("dev", "eval") if (lists / f"{part}.csv").is_file()]
    if not parts:
        raise DataError(f"'{lists}' has neither dev.csv nor eval.csv. Unpack FSD50K.ground_truth.zip there.")
    for part in parts:
        _read_part(root, part, names, found, progress)
    return found


def _read_part(root: Path, part: str, names: ClassNames, found: Found, progress: Progress) -> None:
    info = _clips_info(root / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json", found)
    rows = _rows(root / FSD50K_LISTS / f"{part}.csv", {"fname", "labels", "mids"}, "FSD50K")
    for done, row in enumerate(rows):
        progress(done, len(rows), f"reading {part}")
        about = info.get(row["fname"], {})
        split: Split = "test" if part == "eval" else SPLIT_NAMES.get(row.get("split") or "train", "train")
        add_file(
            found,
            f"FSD50K.{part}_audio/{row['fname']}.wav",
            _labels(row["labels"], row["mids"], names),
            licence=_licence(str(about.get("license", ""))),
            source="FSD50K",
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


def find_esc50(root: Path, progress: Progress = silent) -> Found:
    """Read ESC-50; fold 5 is the test split.

    Args:
        root: the folder that holds ``meta`` and ``audio``.
        progress: called after each clip.

    Returns:
        A clip for each row whose audio is there; all clips of one Freesound file are of one origin.

    Raises:
        DataError: the list is broken.
    """
    found = Found(root)
    rows = _rows(root / ESC50_LIST, {"filename", "fold", "category", "src_file"}, "ESC-50")
    for done, row in enumerate(rows):
        progress(done, len(rows), "reading headers")
        category = row["category"]
        add_file(
            found,
            f"audio/{row['filename']}",
            ESC50_DISPLAY_NAMES.get(category, (category.replace("_", " "),)),
            licence="CC-BY-3.0" if row.get("esc10") == "True" else "CC-BY-NC-3.0",  # the subset ESC-10 is freer
            source="ESC-50",
            origin=f"freesound:{row['src_file']}",
            split="test" if row["fold"] == _ESC50_TEST_FOLD else "train",
        )
    return found


def _rows(path: Path, needed: set[str], name: str) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read '{path}': {error}.") from error
    missing = needed - set(rows[0] if rows else ())
    if missing:
        raise DataError(f"'{path}' lacks the columns {', '.join(sorted(missing))}; {name}'s own file has them.")
    return rows
