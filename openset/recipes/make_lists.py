"""Make ``recordings.csv.gz``, the list that ``openset build`` builds the open set from.

python openset/recipes/make_lists.py

Reads the lists beside it: ``first_edition.csv.gz`` (what the first edition listed, and on which side each
recording lay), ``measured.csv.gz`` (by ``measure.py``), ``rules.csv`` (package, pattern on the path, class: the first
that fits holds), ``copies.csv`` (by ``find_copies.py``) and ``overrides.csv`` (labels mended or dropped, with the
reason; no label: drop).
"""

import csv
import gzip
import io
import re
import sys
from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path

import numpy as np

from openset.recordings import RESERVED_IN_PACKAGES
from querysep.data.ontology import audioset

HERE = Path(__file__).parent
OUTPUT = Path(str(files("openset"))) / "assets" / "recordings.csv.gz"
FIELDS = ("package", "path", "label", "seconds", "licence", "side", "author")
LICENCES = {"openttd-opensfx": "CC-BY-SA-3.0"}
"""debian/copyright says so of ``src/wav/*``, which ``opensfx.cat`` is made of."""
RENDERED = {"Trombone", "Clarinet", "Saxophone", "Timpani", "French horn", "Banjo"}
"""Instruments of few recordings: there are rendered clips of them too."""
IN_REPOSITORIES = {"Cat", "Fireworks", "Keys jangling", "Siren"}
"""Classes of few files here, of which the public repositories have more; their only chainsaw is one of ESC-10."""
REFUSED = re.compile(r"(?<![a-z])nc(?![a-z])|sampling|(?<![a-z])nd(?![a-z])", re.IGNORECASE)
FEWEST = 6
SHORTEST_S = 0.1
QUIETEST_PEAK_DB = -60.0
SAME_SHAPE = 0.15
"""Root mean square difference of two fingerprints, in natural logarithms of power: 0.65 dB."""
SAME_SECONDS = 0.02
Row = dict[str, str]


def read(name: str) -> list[Row]:
    """Read a list beside this file."""
    data = (HERE / name).read_bytes()
    text = gzip.decompress(data) if name.endswith(".gz") else data
    return list(csv.DictReader(text.decode().splitlines()))


def key(row: Row) -> tuple[str, str]:
    """Name a recording."""
    return row["package"], row["path"]


def by_rules(measured: list[Row], known: set[tuple[str, str]]) -> tuple[list[Row], Counter[str]]:
    """Label what the first edition does not list and a rule fits."""
    rules = defaultdict(list)
    for rule in read("rules.csv"):
        rules[rule["package"]].append((re.compile(rule["pattern"]), rule["label"]))
    terms = defaultdict(set)
    for row in FIRST:
        terms[row["package"]].add(row["licence"])
    found, refused = [], Counter[str]()
    for row in measured:
        label = next((label for pattern, label in rules[row["package"]] if pattern.search(row["path"])), None)
        if label is None or key(row) in known:
            continue
        usual = next(iter(terms[row["package"]])) if len(terms[row["package"]]) == 1 else ""
        licence = LICENCES.get(row["package"], row["licence"] or usual)
        if not licence or REFUSED.search(licence):
            refused["licence"] += 1
        elif float(row["peak_db"]) < QUIETEST_PEAK_DB:
            refused["silent"] += 1
        elif float(row["trimmed"]) < SHORTEST_S:
            refused["short"] += 1
        else:
            fields = {name: row[name] for name in ("package", "path", "seconds", "author")}
            found.append({**fields, "label": label, "licence": licence, "side": ""})
    return found, refused


def without_copies(rows: list[Row], measured: dict[tuple[str, str], Row]) -> tuple[list[Row], int]:
    """Drop new recordings that are the same bytes or sound the same as an earlier one."""
    first = {key(row) for row in FIRST}
    bytes_seen: set[str] = set()
    shapes: dict[int, list[tuple[float, np.ndarray]]] = defaultdict(list)
    kept = []
    for row in rows:
        facts = measured.get(key(row))
        if facts is None:
            kept.append(row)
            continue
        length = float(facts["trimmed"])
        shape = np.array([int(value) for value in facts["fingerprint"].split()], dtype=np.float64) / 10
        near = [one for second in (-1, 0, 1) for one in shapes[int(length) + second]]
        same = facts["sha1"] in bytes_seen or any(_alike(length, shape, *one) for one in near)
        if same and key(row) not in first:
            continue
        bytes_seen.add(facts["sha1"])
        if shape.size:
            shapes[int(length)].append((length, shape))
        kept.append(row)
    return kept, len(rows) - len(kept)


def _alike(length: float, shape: np.ndarray, other_length: float, other: np.ndarray) -> bool:
    if abs(length - other_length) > SAME_SECONDS + 0.01 * length or shape.shape != other.shape:
        return False
    return bool(np.sqrt(np.square(shape - other).mean()) < SAME_SHAPE)


def mended(rows: list[Row]) -> tuple[list[Row], Counter[str]]:
    """Apply the overrides; each must fit something."""
    overrides = [(one, re.compile(one["pattern"])) for one in read("overrides.csv")]
    used, kept = Counter[str](), []
    for row in rows:
        for one, pattern in overrides:
            if one["package"] == row["package"] and pattern.search(row["path"]):
                used[f"{one['package']} {one['pattern']} -> {one['label'] or 'dropped'}"] += 1
                if one["label"]:
                    kept.append({**row, "label": one["label"]})
                break
        else:
            kept.append(row)
    return kept, used


def main() -> None:
    """Write the list, and say what changed."""
    measured = read("measured.csv.gz")
    found, refused = by_rules(measured, {key(row) for row in FIRST})
    rows, copies = without_copies([*FIRST, *found], {key(row): row for row in measured})
    copied = {key(row) for row in read("copies.csv")}
    before = len(rows)
    rows = [row for row in rows if key(row) not in copied]
    copies += before - len(rows)
    rows, used = mended(rows)
    count = Counter(row["label"] for row in rows)
    old = {row["label"] for row in FIRST}
    few = {
        label: number
        for label, number in count.items()
        if number < FEWEST and label not in old | RENDERED | IN_REPOSITORIES
    }
    rows = sorted(
        (row for row in rows if row["label"] not in few and row["label"] not in RESERVED_IN_PACKAGES), key=key
    )
    unknown = {row["label"] for row in rows if row["label"] not in audioset()}
    if unknown:
        raise SystemExit(f"Not in AudioSet's ontology: {unknown}")
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    OUTPUT.write_bytes(gzip.compress(buffer.getvalue().encode(), 9, mtime=0))
    say = sys.stdout.write
    say(f"{len(FIRST)} listed before, {len(found)} by rules, {copies} copies dropped, refused {dict(refused)}\n")
    for what, number in used.items():
        say(f"override {number:4d} {what}\n")
    say(f"classes with fewer than {FEWEST}, left out: {few}\n")
    say(f"{len(rows)} recordings, {len({row['label'] for row in rows})} classes\n")


FIRST = [{**row, "author": ""} for row in read("first_edition.csv.gz")]

if __name__ == "__main__":
    main()
