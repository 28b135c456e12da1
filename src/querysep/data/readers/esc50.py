"""ESC-50: 2,000 clips of five seconds in 50 classes."""

import csv
from pathlib import Path

from querysep.data.readers.folders import add_file
from querysep.data.readers.found import Found
from querysep.errors import DataError
from querysep.progress import Progress, silent

SOURCE = "ESC-50"
META = "meta/esc50.csv"
TEST_FOLD = 5
_NEEDED = {"filename", "fold", "category", "src_file"}

DISPLAY_NAMES: dict[str, tuple[str, ...]] = {
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


def find_esc50(root: Path, progress: Progress = silent) -> Found:
    """Read ESC-50; fold 5 is the test split.

    Args:
        root: the folder that holds ``meta`` and ``audio``.
        progress: told after each clip.

    Returns:
        A clip for each row whose audio is there; all clips of one Freesound file are of one origin.

    Raises:
        DataError: the list is broken.
    """
    found = Found(root)
    path = root / META
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read '{path}': {error}.") from error
    missing = _NEEDED - set(rows[0] if rows else ())
    if missing:
        raise DataError(f"'{path}' lacks the columns {', '.join(sorted(missing))}; ESC-50's own file has them.")
    for done, row in enumerate(rows):
        progress(done, len(rows), "reading headers")
        category = row["category"]
        add_file(
            found,
            f"audio/{row['filename']}",
            DISPLAY_NAMES.get(category, (category.replace("_", " "),)),
            licence="CC-BY-3.0" if row.get("esc10") == "True" else "CC-BY-NC-3.0",  # the subset ESC-10 is freer
            source=SOURCE,
            origin=f"freesound:{row['src_file']}",
            split="test" if row["fold"] == str(TEST_FOLD) else "train",
        )
    return found
