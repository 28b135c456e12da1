"""List clips out of public repositories that hold a recording which the set, or another of them, holds already.

python openset/recipes/compare_repositories.py SET FOLDER

SET is a built open set, FOLDER holds the clips and their ``manifest.csv``. Adds to ``copies.csv``. Of a group of copies
the set's own recording stays; else that of ESC-10, whose folds are kept, else the first by name.
"""

import csv
import hashlib
import sys
from pathlib import Path

import numpy as np
import soundfile

from openset.recordings import read_recordings
from openset.repositories import clip_key
from querysep.data.check.fingerprint import Fingerprint, find_matches, fingerprint, groups
from querysep.data.manifest import is_from_repository, is_rendered, read_manifest

COPIES = Path(__file__).parent / "copies.csv"
FIELDS = ("package", "path", "copy_of", "bits_that_differ")


def key_of(row: dict[str, str]) -> str:
    """Name a clip."""
    return clip_key(row["repository"], row["source_path"], float(row["start_s"]))


def print_of(path: Path) -> Fingerprint:
    """Take the fingerprint of a file."""
    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    return fingerprint(samples.mean(axis=1).astype(np.int16), rate)


def main(built: Path, folder: Path) -> None:
    """Add the copies that were found to the list."""
    names = {hashlib.sha256(one.key.encode()).hexdigest()[:12]: one.key for one in read_recordings()}
    clips = [clip for clip in read_manifest(built / "manifest.jsonl") if not is_rendered(clip)]
    clips = [clip for clip in clips if not is_from_repository(clip)]
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows.sort(key=lambda row: (row["repository"] != "karoldvl/ESC-10", key_of(row)))
    keys = [names.get(Path(clip.path).name.partition("-")[0], clip.path) for clip in clips] + [
        key_of(row) for row in rows
    ]
    matches = find_matches(
        [*(print_of(built / clip.path) for clip in clips), *(print_of(folder / row["path"]) for row in rows)]
    )
    error = {}
    for match in matches:
        for index in (match.first, match.second):
            error[index] = min(match.error, error.get(index, 1.0))
    added = []
    for group in groups(matches):
        for index in group[1:]:
            if index >= len(clips):
                row = rows[index - len(clips)]
                added.append(
                    {
                        "package": row["repository"],
                        "path": key_of(row).partition(":")[2],
                        "copy_of": keys[group[0]],
                        "bits_that_differ": f"{100 * error[index]:.1f} %",
                    }
                )
    with COPIES.open(encoding="utf-8", newline="") as file:
        have = list(csv.DictReader(file))
    new = {row["repository"] for row in rows}
    have = [one for one in have if one["package"] not in new]
    with COPIES.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*have, *sorted(added, key=lambda one: (one["package"], one["path"]))])
    sys.stdout.write(f"{len(added)} copies added to {len(have)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
