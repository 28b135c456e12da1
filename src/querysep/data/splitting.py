"""Training, validation and test sides such that no origin lies on two of them."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import Clip, Split
from querysep.data.recordings import Recordings

TEST_SHARE = 0.2
MOST_TEST_SHARE = 0.35
VALIDATION_SHARE = 0.08
MOST_VALIDATION_SHARE = 0.16
FEWEST_FOR_VALIDATION = 12


@dataclass(frozen=True)
class Candidate:
    """A recording that has to go to one side."""

    key: str
    label: str
    origin: str
    side: Split | None = None
    """Where it lay in an earlier edition: what was tested on is never trained on, nor the other way round."""


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
        A side for each key: about a fifth of the files of every label on the test side, and about
        a twelfth of the labels with enough files on the validation side. The held-out recordings
        of an origin become an origin of their own. Recordings of one origin that lay on different
        sides before stay there, and each becomes an origin of its own.
    """
    sides = {one.key: Side("test", True, f"{one.origin}#{one.label}") for one in candidates if one.label in held_out}
    others = _separate_torn_origins([one for one in candidates if one.label not in held_out])
    pinned = {one.origin: one.side for one in others if one.side is not None}
    test = {origin for origin, side in pinned.items() if side == "test"}
    test = choose_origins(others, test, excluded=set(pinned) - test, wanted=wanted_for_test, most_share=MOST_TEST_SHARE)
    for one in others:
        sides[one.key] = Side("test" if one.origin in test else "train", False, one.origin)
    by_file = []
    for label, members in sorted(_by_label(others).items()):
        have = sum(sides[one.key].split == "test" for one in members)
        need = min(wanted_for_test(len(members)), 3)
        if have < need or have == len(members):
            _split_by_file(members, sides)
            by_file.append(label)
    _set_validation_apart(others, sides)
    return Division(sides, tuple(by_file))


class SplitRecordings:
    """Some clips of a data set, with sides that the data set itself does not have.

    Args:
        recordings: the data set.
        indices: of its clips.
        clips: the same clips, with their sides.
    """

    def __init__(self, recordings: Recordings, indices: Sequence[int], clips: Sequence[Clip]) -> None:
        self._recordings, self._indices = recordings, tuple(indices)
        self.clips = tuple(clips)

    @property
    def sample_rate(self) -> int:
        """Of all that is read, in Hz."""
        return self._recordings.sample_rate

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of a clip, see ``Recordings.read``."""
        return self._recordings.read(self._indices[index], start, count)


def split_by_origin(recordings: Recordings, split: Split | None = None) -> tuple[SplitRecordings, str]:
    """Give the clips of a data set without a test side their sides; the same data set is always split alike.

    Args:
        recordings: clips, all of them on the training side.
        split: take this side only.

    Returns:
        The clips with their sides, and a sentence that says what was decided.
    """
    names = [f"{clip.path}#{clip.row}@{clip.start_s}" for clip in recordings.clips]
    candidates = [
        Candidate(name, clip.labels[0], clip.origin) for name, clip in zip(names, recordings.clips, strict=True)
    ]
    division = divide(candidates, ())
    sides = [division.sides[name].split for name in names]
    said = (
        f"The data has no test side, so {sides.count('test')} of its {len(sides)} clips are taken as one: a fifth of "
        "each class, by origin, the same ones each time. A model that was trained on all clips knows them; train with "
        "--keep-test for figures that count."
    )
    if division.split_by_file:
        said += f" Too few origins, so split by file: {', '.join(division.split_by_file)}."
    chosen = [index for index, side in enumerate(sides) if split in (None, side)]
    clips = [recordings.clips[index].model_copy(update={"split": sides[index]}) for index in chosen]
    return SplitRecordings(recordings, chosen, clips), said


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


def wanted_for_validation(count: int) -> int:
    """Say how many of a label's files that are not tested on shall be for validation.

    Args:
        count: files of the label.

    Returns:
        A twelfth, but none where there are few.
    """
    return 0 if count < FEWEST_FOR_VALIDATION else max(1, round(VALIDATION_SHARE * count))


def rank(text: str) -> bytes:
    """Give an order that looks random and never changes.

    Args:
        text: what to put in order.

    Returns:
        A key to sort by.
    """
    return hashlib.sha256(text.encode()).digest()


def choose_origins(
    candidates: Sequence[Candidate],
    chosen: Collection[str],
    *,
    excluded: Collection[str],
    wanted: Callable[[int], int],
    most_share: float,
) -> set[str]:
    """Choose origins until every label has what is wanted, without taking far too much of any.

    Args:
        candidates: keys are unique.
        chosen: origins that are taken already.
        excluded: origins that are not to be taken.
        wanted: how many of a label's candidates shall be taken, of so many.
        most_share: of a label's candidates, which a further origin must not exceed.

    Returns:
        The origins, those that were chosen before among them; the same ones each time.
    """
    by_label = {label: Counter(one.origin for one in members) for label, members in _by_label(candidates).items()}
    labels_of = defaultdict(set)
    for one in candidates:
        labels_of[one.origin].add(one.label)
    taken = set(chosen)
    have = Counter({label: sum(counts[origin] for origin in taken) for label, counts in by_label.items()})

    def fits(origin: str) -> bool:
        for label in labels_of[origin]:
            count = by_label[label].total()
            most = max(wanted(count), int(most_share * count))
            if have[label] + by_label[label][origin] > most:
                return False
        return True

    for label in sorted(by_label, key=lambda name: (len(by_label[name]), name)):
        for origin in sorted(by_label[label], key=rank):
            if have[label] >= wanted(by_label[label].total()):
                break
            if origin not in taken and origin not in excluded and fits(origin):
                taken.add(origin)
                for other in labels_of[origin]:
                    have[other] += by_label[other][origin]
    return taken


def _separate_torn_origins(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Make every recording an origin of its own where its origin was on two sides before."""
    sides = defaultdict(set)
    for one in candidates:
        if one.side is not None:
            sides[one.origin].add(one.side)
    return [
        replace(one, origin=f"{one.origin}#{one.key}", side=one.side or "train") if len(sides[one.origin]) > 1 else one
        for one in candidates
    ]


def _split_by_file(members: Iterable[Candidate], sides: dict[str, Side]) -> None:
    """Move single files, so that some of the label are on either side; what lay on a side before stays there."""
    ordered = sorted(members, key=lambda one: rank(one.key))
    tested = [one for one in ordered if sides[one.key].split == "test"]
    trained = [one for one in ordered if sides[one.key].split == "train"]
    missing = wanted_for_test(len(ordered)) - len(tested)
    moving = [one for one in trained if one.side is None][:missing] if missing > 0 else []
    loose = [one for one in tested if one.side is None]
    fixed = [one for one in tested if one.side is not None]
    kept = tested if trained else [*fixed, *loose[: max(0, wanted_for_test(len(ordered)) - len(fixed))]]
    on_test = {one.key for one in (*moving, *kept)}
    for one in ordered:
        split: Split = "test" if one.key in on_test else "train"
        side = sides[one.key]
        if split == side.split == "test":
            continue
        sides[one.key] = replace(side, split=split, origin=f"{one.origin}#{one.key}")


def _set_validation_apart(candidates: Iterable[Candidate], sides: dict[str, Side]) -> None:
    """Move whole origins from the training to the validation side; parts of a torn origin stay."""
    trained = [replace(one, origin=sides[one.key].origin) for one in candidates if sides[one.key].split == "train"]
    excluded = {side.origin for side in sides.values() if side.split == "test"}
    excluded |= {one.origin for one in trained if one.origin.endswith(f"#{one.key}")}
    apart = choose_origins(
        trained, (), excluded=excluded, wanted=wanted_for_validation, most_share=MOST_VALIDATION_SHARE
    )
    for one in trained:
        if one.origin in apart:
            sides[one.key] = replace(sides[one.key], split="validation")


def _by_label(candidates: Iterable[Candidate]) -> dict[str, list[Candidate]]:
    by_label: dict[str, list[Candidate]] = defaultdict(list)
    for one in candidates:
        by_label[one.label].append(one)
    return dict(by_label)
