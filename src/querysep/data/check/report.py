"""A data set before training: what in it will hurt."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from querysep.data.check.fingerprint import Fingerprint, Match, find_matches, fingerprint, groups
from querysep.data.check.labels import MARGIN, doubtful_labels
from querysep.data.formats.data_set import OpenedRecordings
from querysep.data.manifest import Clip
from querysep.errors import DataError
from querysep.progress import Progress, silent

Embed = Callable[[NDArray[np.int16]], NDArray[np.float32]]
"""Turns a clip into one vector: a detector's latent embedding."""

FEW_CLIPS = 8
_FRAME_S = 0.05
_FULL_SCALE = 32_768
_RUN = 4  # equal samples in a row at the peak: a flat top
_NEAR_PEAK = 0.95
_LOUD_PEAK = 1_638  # -26 dBFS: below, equal samples are rounding

Kind = Literal[
    "unreadable",
    "missing",
    "leak",
    "origin in two splits",
    "silent",
    "one-clip class",
    "no training clips",
    "few clips",
    "not tested",
    "one origin",
    "clipped",
    "too short",
    "shorter than stated",
    "duplicate",
    "mislabelled-looking",
    "unlabelled",
    "row",
    "repeated",
    "no licence",
]


@dataclass(frozen=True)
class KindNote:
    """What a kind of finding means.

    Attributes:
        hurts: training or its evaluation is spoilt by it, so ``--strict`` fails.
        meaning: in a few words.
        advice: what to do.
    """

    hurts: bool
    meaning: str
    advice: str


KINDS: dict[Kind, KindNote] = {
    "unreadable": KindNote(True, "the file cannot be decoded", "download or convert it again, or take its row out"),
    "leak": KindNote(True, "the same recording in two splits", "put all copies into one split, or keep one copy"),
    "origin in two splits": KindNote(True, "one origin on two sides", "split by origin, not by file"),
    "silent": KindNote(True, "nothing to hear", "take it out"),
    "one-clip class": KindNote(True, "a class with a single clip", "find more clips, or merge it with its parent"),
    "no training clips": KindNote(True, "tested, never trained", "move clips to train, or mark them held out"),
    "missing": KindNote(False, "named in the list, not on the disk", "fetch the file, or leave it: it is not used"),
    "few clips": KindNote(False, "a class with few training clips", "find more, or merge it with its parent"),
    "not tested": KindNote(False, "a class without test clips", "move clips of another origin to test"),
    "one origin": KindNote(False, "all clips of a class in a split from one origin", "find clips from elsewhere"),
    "clipped": KindNote(False, "flat tops: recorded too loud", "find a better copy, or take it out"),
    "too short": KindNote(False, "too short to learn from", "take it out, or repeat it to a texture"),
    "shorter than stated": KindNote(False, "less sound than the list says", "download it again, or mend the list"),
    "duplicate": KindNote(False, "the same recording twice in one split", "keep one copy"),
    "mislabelled-looking": KindNote(False, "sounds like another class", "listen, then mend the label or take it out"),
    "unlabelled": KindNote(False, "sound without a label", "label it, or leave it: it is not used"),
    "row": KindNote(False, "a row that makes no sense", "mend the row; it is not used"),
    "repeated": KindNote(False, "a row that was there before", "nothing: it is used once"),
    "no licence": KindNote(False, "nobody says under which licence", "find out before you share weights"),
}
"""All kinds, those that hurt most first."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        path: of the file, with ``[row]`` for a pack; or the class, for what concerns a class.
        kind: what it is.
        detail: the facts, in a sentence.
        weight: how bad it is among findings of its kind; the worst are shown.
    """

    path: str
    kind: Kind
    detail: str
    weight: float = 0.0


class CheckSettings(BaseModel):
    """From where on something is a finding."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    silent_db: float = Field(default=-60.0, description="RMS of the loudest 50 ms, dBFS; quieter is silent")
    clamped_share: float = Field(default=0.001, gt=0, le=1, description="of the samples on flat tops; more is clipped")
    flat_tops: int = Field(default=10, ge=1, description="at least so many flat tops, or one plateau is a click")
    shortest_s: float = Field(default=0.25, ge=0, description="shorter is too short")
    few_clips: int = Field(default=FEW_CLIPS, ge=1, description="fewer training clips are few")
    margin: float = Field(default=MARGIN, ge=0, description="cosine similarity by which another class must be nearer")


@dataclass
class CheckReport:
    """What was found in a data set.

    Attributes:
        clips: how many were checked.
        hours: their sound.
        data_format: how the data set was read.
        findings: everything, the worst kinds first and the worst of each kind first.
        warnings: what was decided in reading.
    """

    clips: int
    hours: float
    data_format: str
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def hurts(self) -> bool:
        """Whether something was found that spoils training or its evaluation."""
        return any(KINDS[finding.kind].hurts for finding in self.findings)


def check_recordings(
    opened: OpenedRecordings,
    settings: CheckSettings | None = None,
    embed: Embed | None = None,
    progress: Progress = silent,
) -> CheckReport:
    """Check every clip's sound, and the lists.

    Args:
        opened: the data set.
        settings: from where on something is a finding.
        embed: vectors for the search for wrong labels; without it, labels are not compared with the sound.
        progress: called after each clip.

    Returns:
        Everything that was found.
    """
    settings = settings or CheckSettings()
    clips = opened.clips
    report = CheckReport(len(clips), 0.0, str(opened.data_format), warnings=list(opened.warnings))
    found = [Finding(one.path, one.kind, one.detail) for one in opened.problems]
    found += check_lists(clips, settings.few_clips)
    prints: list[Fingerprint] = []
    vectors: dict[int, NDArray[np.float32]] = {}
    samples_read = 0
    for index, clip in enumerate(clips):
        progress(index, len(clips), "listening")
        try:
            samples = opened.read(index)
        except DataError as error:
            found.append(Finding(name_of(clip), "unreadable", str(error)))
            prints.append(fingerprint(np.zeros(0, np.int16), opened.sample_rate))
            continue
        samples_read += samples.size
        new = list(_check_sound(name_of(clip), clip.duration_s, samples, opened.sample_rate, settings))
        found += new
        quiet = any(one.kind == "silent" for one in new)
        prints.append(fingerprint(samples[:0] if quiet else samples, opened.sample_rate))
        if embed is not None and samples.size and not quiet:
            vectors[index] = embed(samples)
    progress(len(clips), len(clips), "comparing")
    matches = find_matches(prints)
    found += _check_copies(opened, matches)
    if vectors:
        found += _check_labels(opened, vectors, matches, settings.margin)
    order = {kind: place for place, kind in enumerate(KINDS)}
    report.findings = sorted(found, key=lambda one: (order[one.kind], -one.weight, one.path))
    report.hours = samples_read / opened.sample_rate / 3600
    return report


def _check_sound(
    path: str, stated_s: float, samples: NDArray[np.int16], sample_rate: int, settings: CheckSettings
) -> Iterator[Finding]:
    got_s = samples.size / sample_rate
    if samples.size == 0:
        yield Finding(path, "silent", "The clip holds no samples.", 1.0)
        return
    if got_s < settings.shortest_s:
        yield Finding(path, "too short", f"{got_s:.2f} s of sound.", 1 / got_s)
    if got_s < 0.9 * stated_s - 0.1:
        yield Finding(
            path, "shorter than stated", f"{got_s:.2f} s of sound, {stated_s:.2f} s stated.", stated_s - got_s
        )
    level = levels(samples, sample_rate)
    if level.loudest_db < settings.silent_db:
        yield Finding(path, "silent", f"Its loudest moment has {level.loudest_db:.0f} dBFS.", -level.loudest_db)
    elif level.clamped >= settings.clamped_share and level.flat_tops >= settings.flat_tops:
        share = f"{100 * level.clamped:.1f} % of the samples lie on {level.flat_tops} flat tops"
        yield Finding(path, "clipped", f"{share} (peak {level.peak_db:.1f} dBFS).", level.clamped)


def _check_copies(opened: OpenedRecordings, matches: Sequence[Match]) -> Iterator[Finding]:
    """Find every copy beside one that is kept; all, where a recording is in two splits."""
    by_clip: dict[int, list[Match]] = {}
    for match in matches:
        by_clip.setdefault(match.first, []).append(match)
        by_clip.setdefault(match.second, []).append(match)
    for group in groups(matches):
        clips = {index: opened.clips[index] for index in group}
        splits = sorted({clip.split for clip in clips.values()})
        first_labels = sorted({clip.labels[0] for clip in clips.values()})
        for index, clip in clips.items():
            error, other = _closest(index, by_clip[index], clips)
            detail = (
                f"Same as {name_of(other)} (in {other.split}): {100 * error:.1f} % of the bits differ, "
                f"{len(group)} copies"
            )
            if len(first_labels) > 1:
                detail += f" under the labels {', '.join(first_labels)}"
            if len(splits) > 1:
                yield Finding(name_of(clip), "leak", f"{detail}, in {' and '.join(splits)}.", 1 - error)
            elif index != group[0]:
                yield Finding(name_of(clip), "duplicate", f"{detail}.", len(first_labels) - error)


def _closest(index: int, matches: Sequence[Match], clips: Mapping[int, Clip]) -> tuple[float, Clip]:
    """Return how far a clip's closest copy is from it, and the copy; one in another split comes first."""
    found = [(match.error, clips[match.second if match.first == index else match.first]) for match in matches]
    elsewhere = [(error, other) for error, other in found if other.split != clips[index].split]
    return min(elsewhere or found, key=lambda pair: pair[0])


def _check_labels(
    opened: OpenedRecordings, vectors: dict[int, NDArray[np.float32]], matches: Sequence[Match], margin: float
) -> Iterator[Finding]:
    indices = sorted(vectors)
    group_of = {index: number for number, group in enumerate(groups(matches)) for index in group}
    labels = [opened.clips[index].labels for index in indices]
    own = [group_of.get(index, len(opened.clips) + index) for index in indices]
    for doubt in doubtful_labels(np.stack([vectors[index] for index in indices]), labels, own, margin):
        clip = opened.clips[indices[doubt.index]]
        detail = f"Labelled {clip.labels[0]}, sounds like {doubt.nearest} (nearer by {doubt.margin:.2f})."
        yield Finding(name_of(clip), "mislabelled-looking", detail, doubt.margin)


def check_lists(clips: Sequence[Clip], few_clips: int = FEW_CLIPS) -> Iterator[Finding]:
    """Check classes, splits, origins and licences.

    Args:
        clips: the rows.
        few_clips: a class with fewer training clips has few.

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


@dataclass(frozen=True)
class Levels:
    """How loud a clip is.

    Attributes:
        peak_db: largest sample, dBFS.
        loudest_db: RMS of the loudest 50 ms, dBFS.
        clamped: share of the samples that lie on flat tops, 0..1.
        flat_tops: how many.
    """

    peak_db: float
    loudest_db: float
    clamped: float
    flat_tops: int


def levels(samples: NDArray[np.int16], sample_rate: int) -> Levels:
    """Measure a clip.

    Args:
        samples: shape (time,), at least one.
        sample_rate: Hz.
    """
    wide = samples.astype(np.int32)
    peak = int(np.abs(wide).max())
    frame = max(1, round(_FRAME_S * sample_rate))
    starts = np.arange(0, wide.size, frame)
    squares = np.add.reduceat(wide.astype(np.float64) ** 2, starts) / np.diff(np.append(starts, wide.size))
    on_top, tops = _flat_tops(wide, peak)
    return Levels(_db(peak), _db(float(np.sqrt(squares.max()))), on_top / wide.size, tops)


def _db(level: float) -> float:
    return 20 * float(np.log10(max(level, 1e-3) / _FULL_SCALE))


def _flat_tops(samples: NDArray[np.int32], peak: int) -> tuple[int, int]:
    """Return how many samples lie on flat tops, and how many tops there are."""
    if peak < _LOUD_PEAK or samples.size <= _RUN:
        return 0, 0
    high = np.abs(samples) >= _NEAR_PEAK * peak
    flat = high[1:] & high[:-1] & (np.abs(np.diff(samples)) <= 1)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat.view(np.int8), [0]))))
    lengths = edges[1::2] - edges[::2] + 1
    long = lengths[lengths >= _RUN]
    return int(long.sum()), int(long.size)
