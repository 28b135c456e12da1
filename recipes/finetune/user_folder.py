"""Make the folder of a user of `querysep train finetune`: about 200 clips of ten classes, and others to test on.

Run `python recipes/finetune/user_folder.py OPEN_SET FOLDER`. The clips are of the test side of the open set, so that
the bundled weights were trained on none of them; eight classes are new to them. About two thirds of each class
go to FOLDER/train, the rest to FOLDER/test; clips of one origin to the same side, unless a class has but few origins.
"""

import argparse
import shutil
from collections import Counter
from pathlib import Path

from querysep.data.manifest import read_manifest

KNOWN = ("Groan", "Walk, footsteps")
FEW = 5  # origins
TRAIN_SHARE = 0.67


def side_of(origins: Counter[str], done: Counter[str], origin: str) -> str:
    """Put whole origins, the largest first, where most is missing."""
    total = sum(origins.values())
    return "train" if done["train"] + origins[origin] <= TRAIN_SHARE * total else "test"


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("data", type=Path)
parser.add_argument("folder", type=Path)
arguments = parser.parse_args()

clips = [clip for clip in read_manifest(arguments.data / "manifest.jsonl") if clip.split == "test"]
chosen = [clip for clip in clips if clip.held_out or clip.labels[0] in KNOWN]
for label in sorted({clip.labels[0] for clip in chosen}):
    of_class = [clip for clip in chosen if clip.labels[0] == label]
    origins = Counter(clip.origin for clip in of_class)
    if len(origins) <= FEW:
        origins = Counter(clip.path for clip in of_class)
    done: Counter[str] = Counter()
    for origin, count in sorted(origins.items(), key=lambda item: (-item[1], item[0])):
        side = side_of(origins, done, origin)
        done[side] += count
        target = arguments.folder / side / label
        target.mkdir(parents=True, exist_ok=True)
        for clip in of_class:
            if origin in (clip.origin, clip.path):
                shutil.copy(arguments.data / clip.path, target / Path(clip.path).name)
    print(f"{label}: {done['train']} to train on, {done['test']} to test on, {len(origins)} origins")
