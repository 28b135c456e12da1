"""What the list of a data set shows without its sound: classes, splits, origins, licences."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from querysep.data.check_kinds import Finding
from querysep.data.manifest import Clip

FEW_CLIPS = 8


def check_lists(clips: Sequence[Clip], few_clips: int = FEW_CLIPS) -> Iterator[Finding]:
    """Look at classes, splits, origins and licences.

    Args:
        clips: the rows.
        few_clips: a class with fewer training clips is told of.

    Yields:
        What was found.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    origins: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    sides: dict[str, set[str]] = defaultdict(set)
    splits, held_out = set[str](), set[str]()
    for clip in clips:
        splits.add(clip.split)
        sides[clip.origin].add(clip.split)
        for label in clip.labels:
            counts[label][clip.split] += 1
            origins[label][clip.split].add(clip.origin)
            if clip.held_out:
                held_out.add(label)
        if not clip.licence.strip():
            yield Finding(name_of(clip), "no licence", f"No licence is given (source: {clip.source or 'not given'}).")
    for label, count in sorted(counts.items()):
        if label not in held_out:
            yield from _check_class(label, count, splits, origins[label], few_clips)
    yield from _check_origins(sides)


def name_of(clip: Clip) -> str:
    """Return how a clip is named in findings: its path, with the row of a pack."""
    return clip.path if clip.row is None else f"{clip.path}[{clip.row}]"


def _check_class(
    label: str, count: Counter[str], splits: set[str], origins: dict[str, set[str]], few_clips: int
) -> Iterator[Finding]:
    total, trained = count.total(), count["train"]
    if total == 1:
        yield Finding(label, "one-clip class", "The class has one clip; a query and a target need two.", 1.0)
        return
    if "train" in splits and trained == 0:
        yield Finding(label, "no training clips", f"None of its {total} clips is for training.", total)
    elif 0 < trained < few_clips:
        yield Finding(label, "few clips", f"{trained} clips for training, of {total}.", few_clips - trained)
    for split, names in sorted(origins.items()):
        if count[split] > 1 and len(names) == 1:
            yield Finding(
                label, "one origin", f"All its {count[split]} clips in {split} are of one origin.", count[split]
            )
    if "test" in splits and not count["test"]:
        yield Finding(label, "not tested", f"None of its {total} clips is for testing.", total)


def _check_origins(sides: dict[str, set[str]]) -> Iterator[Finding]:
    for origin, where in sides.items():
        if len(where) > 1:
            detail = f"Clips of this origin are in {' and '.join(sorted(where))}."
            yield Finding(origin, "origin in two splits", detail, len(where))
