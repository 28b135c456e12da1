"""Train and test sides such that no origin lies on both."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from querysep.data.manifest import Split

TEST_SHARE = 0.2
MOST_TEST_SHARE = 0.35


@dataclass(frozen=True)
class Candidate:
    """A recording that has to go to one side."""

    key: str
    label: str
    origin: str


@dataclass(frozen=True)
class Side:
    """Where a recording went."""

    split: Split
    held_out: bool
    origin: str


@dataclass(frozen=True)
class Division:
    """A whole data set, divided."""

    sides: dict[str, Side]
    split_by_file: tuple[str, ...]
    """Labels with too few origins: single files of one origin lie on different sides, each
    file having become an origin of its own."""


def divide(candidates: Sequence[Candidate], held_out: Collection[str]) -> Division:
    """Divide recordings; the same recordings are always divided alike.

    Args:
        candidates: keys are unique.
        held_out: labels that go to the test side as a whole.

    Returns:
        A side for each key: about a fifth of the files of every label on the test side. The
        held-out recordings of an origin become an origin of their own.
    """
    test = _test_origins([one for one in candidates if one.label not in held_out])
    sides = {}
    for one in candidates:
        if one.label in held_out:
            sides[one.key] = Side("test", True, f"{one.origin}#{one.label}")
        else:
            sides[one.key] = Side("test" if one.origin in test else "train", False, one.origin)
    by_file = []
    for label, members in sorted(_by_label(candidates).items()):
        if label in held_out:
            continue
        have = sum(sides[one.key].split == "test" for one in members)
        need = min(wanted_for_test(len(members)), 3)
        if have < need or have == len(members):
            _split_by_file(members, sides)
            by_file.append(label)
    return Division(sides, tuple(by_file))


def wanted_for_test(count: int) -> int:
    """Say how many of a label's files shall be tested on.

    Args:
        count: files of the label.

    Returns:
        A fifth, but at least three where there are seven or more, and none of a single one.
    """
    if count < 7:
        return min(count // 2, 2)
    return max(3, round(TEST_SHARE * count))


def rank(text: str) -> bytes:
    """Give an order that looks random and never changes.

    Args:
        text: what to put in order.

    Returns:
        A key to sort by.
    """
    return hashlib.sha256(text.encode()).digest()


def _test_origins(candidates: Sequence[Candidate]) -> set[str]:
    by_label = {label: Counter(one.origin for one in members) for label, members in _by_label(candidates).items()}
    labels_of = defaultdict(set)
    for one in candidates:
        labels_of[one.origin].add(one.label)
    test: set[str] = set()
    tested = Counter[str]()

    def fits(origin: str) -> bool:
        for label in labels_of[origin]:
            count = by_label[label].total()
            most = max(wanted_for_test(count), int(MOST_TEST_SHARE * count))
            if tested[label] + by_label[label][origin] > most:
                return False
        return True

    for label in sorted(by_label, key=lambda name: (len(by_label[name]), name)):
        for origin in sorted(by_label[label], key=rank):
            if tested[label] >= wanted_for_test(by_label[label].total()):
                break
            if origin not in test and fits(origin):
                test.add(origin)
                for other in labels_of[origin]:
                    tested[other] += by_label[other][origin]
    return test


def _split_by_file(members: Iterable[Candidate], sides: dict[str, Side]) -> None:
    """Move single files, so that some of the label are on either side."""
    ordered = sorted(members, key=lambda one: rank(one.key))
    tested = [one for one in ordered if sides[one.key].split == "test"]
    trained = [one for one in ordered if sides[one.key].split == "train"]
    missing = wanted_for_test(len(ordered)) - len(tested)
    moving = trained[:missing] if missing > 0 else []
    kept = tested if trained else tested[: wanted_for_test(len(ordered))]
    on_test = {one.key for one in (*moving, *kept)}
    for one in ordered:
        split: Split = "test" if one.key in on_test else "train"
        side = sides[one.key]
        if split == side.split == "test":
            continue
        sides[one.key] = replace(side, split=split, origin=f"{one.origin}#{one.key}")


def _by_label(candidates: Iterable[Candidate]) -> dict[str, list[Candidate]]:
    by_label: dict[str, list[Candidate]] = defaultdict(list)
    for one in candidates:
        by_label[one.label].append(one)
    return dict(by_label)
