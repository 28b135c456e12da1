"""List recordings to drop because they sound like another one, from what ``querysep data check`` found.

querysep data check SET --no-labels --json FINDINGS && python openset/recipes/find_copies.py SET FINDINGS

Adds to ``copies.csv``. What was tested on stays: of copies on two sides those go that are not for testing, of train
and validation those for validation; of copies on one side, not for testing, all but one go. For clips of
repositories there is ``compare_repositories.py``.
"""

import csv
import hashlib
import json
import re
import sys
from pathlib import Path

from openset.recordings import read_recordings
from querysep.data.manifest import is_from_repository, is_rendered, read_manifest

COPIES = Path(__file__).parent / "copies.csv"
FIELDS = ("package", "path", "copy_of", "bits_that_differ")
SAME = re.compile(r"^Same as (\S+) .*?: ([\d.]+ %) of the bits differ")
RANK = {"test": 0, "train": 1, "validation": 2}


def main(folder: Path, findings: Path) -> None:
    """Add the copies that were found to the list."""
    names = {hashlib.sha256(one.key.encode()).hexdigest()[:12]: one for one in read_recordings()}
    clips = {clip.path: clip for clip in read_manifest(folder / "manifest.jsonl")}
    dropped: dict[str, dict[str, str]] = {}
    kept: set[str] = set()
    for finding in json.loads(findings.read_text(encoding="utf-8"))["findings"]:
        match = SAME.match(finding["detail"])
        if finding["kind"] not in {"leak", "duplicate"} or match is None:
            continue
        pair = [clips[path] for path in (finding["path"], match.group(1)) if path in clips]
        if (
            len(pair) < 2
            or any(is_rendered(clip) or is_from_repository(clip) for clip in pair)
            or pair[0].held_out
            or pair[1].held_out
        ):
            continue
        first, second = sorted(pair, key=lambda clip: (RANK[clip.split], _id(clip.path)))
        keep, drop = names[_id(first.path)], names[_id(second.path)]
        if second.split == "test" or keep == drop or keep.key in dropped or drop.key in dropped | dict.fromkeys(kept):
            continue
        kept.add(keep.key)
        dropped[drop.key] = {
            "package": drop.package, "path": drop.path, "copy_of": keep.key, "bits_that_differ": match.group(2)
        }  # fmt: skip
    rows = []
    if COPIES.exists():
        with COPIES.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    with COPIES.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, *dropped.values()])
    sys.stdout.write(f"{len(dropped)} copies added to {len(rows)}\n")


def _id(path: str) -> str:
    return Path(path).name.partition("-")[0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
