"""Make ``repositories.csv.gz``, the clips out of public repositories that ``openset build`` adds.

python openset/recipes/make_repositories.py FOLDER

FOLDER holds a ``manifest.csv``: a row for each clip, with a weak label, where it is from and what a teacher made of
it. Reads the lists beside this file too: ``overrides.csv`` (labels mended or dropped, with the reason) and
``copies.csv`` (by ``compare_repositories.py``).

1. Origins: a Freesound number is one origin wherever it turns up; an instrument's strokes, or a keyboard's, are one.
2. Labels: ``overrides.csv`` first. Of the rest, what the teacher doubts is dropped where it is 1 s or longer and
   the teacher is sure of an unrelated class (a score of 2 or more), unless people checked the labels of the source.
3. A class with fewer than three origins that the packages lack joins the nearest class above that has three, those
   that join counted, unless that says too little. Without one it stays, on the training side alone.
4. Splits by origin: fold 5 of ESC-10 is tested on, its other folds never; of every other class a fifth of the origins
   is tested on, and of the rest an eighth, at least two where there are six or more, is for validation.
"""

import csv
import gzip
import io
import re
import sys
from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path

from openset.building import FEWEST_ORIGINS
from openset.recordings import HELD_OUT, RESERVED, labels_of, origin_of, read_recordings
from openset.repositories import clip_key
from querysep.data.splitting import MOST_TEST_SHARE, Candidate, choose_origins, wanted_for_test

HERE = Path(__file__).parent
OUTPUT = Path(str(files("openset"))) / "assets" / "repositories.csv.gz"
FIELDS = ("repository", "commit", "source_path", "start_s", "seconds", "license", "credit", "origin", "label",
          "split", "edition")  # fmt: skip
EDITION = 4
ESC_10, TEST_FOLD = "karoldvl/ESC-10", "5-"
CHECKED = {ESC_10, "seth814/Audio-Classification"}
"""Sources whose labels people checked: ESC-10, and FSDKaggle2018's verified part."""
ONE_INSTRUMENT = ("sfzinstruments/", "tidalcycles/")
BY_CREDIT = {"freepats/world-percussion"}
BY_FOLDER = {"tplai/kbsim": 3, "hainguyents13/mechvibes": 2}
"""A keyboard is the folder so deep in the path."""
SURE = 2.0
SHORT_S = 1.0
TOO_BROAD = {"Music", "Musical instrument", "Animal", "Vehicle", "Domestic sounds, home sounds", "Human sounds"}
"""Classes that say too little to be joined."""
MEANT = dict.fromkeys(("Caw", "Hoot", "Gull, seagull"), "Bird vocalization, bird call, bird song")
"""Where classes with too few origins go that would make a class above by themselves, which says more than they hold."""
Row = dict[str, str]


def read(name: str) -> list[Row]:
    """Read a list beside this file."""
    with (HERE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def key(row: Row) -> str:
    """Name a clip."""
    return clip_key(row["repository"], row["source_path"], float(row["start_s"]))


def origin(row: Row) -> str:
    """Name what must not be split apart."""
    if row["freesound_id"]:
        return f"freesound:{row['freesound_id']}"
    repository = row["repository"]
    if repository.startswith(ONE_INSTRUMENT):
        return repository
    if repository in BY_CREDIT:
        return f"{repository}:{row['credit']}"
    if repository in BY_FOLDER:
        return f"{repository}:{row['source_path'].split('/')[BY_FOLDER[repository]]}"
    return row["origin"]


def mended(rows: list[Row]) -> tuple[list[Row], Counter[str]]:
    """Apply the overrides, and the rule for doubtful labels."""
    overrides = [(one, re.compile(one["pattern"])) for one in read("overrides.csv")]
    kept, said = [], Counter[str]()
    for row in rows:
        fits = (one for one, pattern in overrides
                if one["package"] == row["repository"] and pattern.search(row["source_path"]))  # fmt: skip
        override = next(fits, None)
        if override is not None:
            said["relabeled" if override["label"] else "dropped by an override"] += 1
            if override["label"]:
                kept.append({**row, "label": override["label"]})
        elif row["doubtful"] == "1" and row["repository"] not in CHECKED and _is_sure(row):
            said["doubtful, dropped"] += 1
        else:
            said["doubtful, kept"] += row["doubtful"] == "1"
            kept.append({**row, "label": row["class"]})
    return kept, said


def _is_sure(row: Row) -> bool:
    return float(row["seconds"]) >= SHORT_S and float(row["teacher_top"].rpartition(" ")[2]) >= SURE


def joined(rows: list[Row]) -> tuple[list[Row], Counter[str]]:
    """Give clips of a class with too few origins to the nearest one above that has enough."""
    own: dict[str, set[str]] = defaultdict(set)
    for recording in read_recordings():
        own[recording.label].add(origin_of(recording))
    packaged = set(own)
    for row in rows:
        own[row["label"]].add(origin(row))
    small = {label for label, origins in own.items() if len(origins) < FEWEST_ORIGINS and label not in packaged}
    with_small = {label: set(origins) for label, origins in own.items()}
    for label in small:
        for above in labels_of(label)[1:]:
            with_small.setdefault(above, set()).update(own[label])
    kept, said = [], Counter[str]()
    for row in rows:
        label = row["label"]
        if label in small and len(with_small[label]) < FEWEST_ORIGINS:
            above = (one for one in labels_of(label)[1:] if one not in TOO_BROAD)
            label = MEANT.get(label) or next((one for one in above if len(with_small[one]) >= FEWEST_ORIGINS), label)
            said[f"{row['label']} -> {label}" if label != row["label"] else f"{label}: on the training side alone"] += 1
        kept.append({**row, "label": label})
    return kept, said


def split(rows: list[Row]) -> None:
    """Choose the sides, by origin."""
    held_out = [row for row in rows if not HELD_OUT.isdisjoint(labels_of(row["label"]))]
    for row in held_out:
        row["split"] = "test"
    others = [row for row in rows if "split" not in row]
    pinned = {origin(row): row["source_path"].rpartition("/")[2].startswith(TEST_FOLD)
              for row in others if row["repository"] == ESC_10}  # fmt: skip
    tested_only = {origin(row) for row in held_out}
    count = defaultdict(set)
    for row in others:
        count[row["label"]].add(origin(row))
    few = {where for label, origins in count.items() if len(origins) < FEWEST_ORIGINS for where in origins}
    trained_only = {where for where, is_test in pinned.items() if not is_test} | few - tested_only
    candidates = [
        Candidate(f"{where}#{label}", label, where)
        for where, label in sorted({(origin(r), r["label"]) for r in others})
    ]
    test = choose_origins(
        candidates,
        {where for where, is_test in pinned.items() if is_test} | tested_only,
        excluded=trained_only,
        wanted=wanted_for_test,
        most_share=MOST_TEST_SHARE,
    )
    rest = [one for one in candidates if one.origin not in test]
    validation = choose_origins(
        rest, (), excluded=test | few, wanted=_wanted_for_validation, most_share=MOST_TEST_SHARE
    )
    for row in others:
        where = origin(row)
        row["split"] = "test" if where in test else "validation" if where in validation else "train"


def _wanted_for_validation(count: int) -> int:
    return 0 if count < 6 else max(2, round(0.125 * count))


def main(folder: Path) -> None:
    """Write the list, and say what changed."""
    say = sys.stdout.write
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        given = list(csv.DictReader(file))
    copied = {f"{row['package']}:{row['path']}" for row in read("copies.csv")}
    rows = [row for row in given if key(row) not in copied]
    say(f"{len(given)} clips, {len(given) - len(rows)} copies dropped\n")
    rows, said = mended(rows)
    say(f"{dict(said)}\n")
    rows, said = joined(rows)
    for what, number in sorted(said.items()):
        say(f"joined {number:4d} {what}\n")
    rows = sorted((row for row in rows if RESERVED.isdisjoint(labels_of(row["label"]))), key=key)
    split(rows)
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows({**row, "license": row["licence"], "origin": origin(row), "edition": str(EDITION)} for row in rows)
    OUTPUT.write_bytes(gzip.compress(buffer.getvalue().encode(), 9, mtime=0))
    sides = Counter(row["split"] for row in rows)
    say(f"{len(rows)} clips, {len({row['label'] for row in rows})} classes, {dict(sides)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
