"""A data set before training: what in it will hurt."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from querysep.data.check_kinds import KINDS, Finding
from querysep.data.check_labels import MARGIN, doubtful_labels
from querysep.data.check_lists import FEW_CLIPS, check_lists, name_of
from querysep.data.check_sound import levels
from querysep.data.fingerprint import Fingerprint, Match, find_matches, fingerprint, groups
from querysep.data.manifest import Clip
from querysep.data.opening import OpenedRecordings
from querysep.errors import DataError
from querysep.progress import Progress, silent

Embed = Callable[[NDArray[np.int16]], NDArray[np.float32]]
"""Turns a clip into one vector: a detector's latent embedding."""


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
        clips: how many were looked at.
        hours: their sound.
        layout: how the data set was read.
        findings: everything, the worst kinds first and the worst of each kind first.
        warnings: what was decided in reading.
    """

    clips: int
    hours: float
    layout: str
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
    """Look at every clip's sound once, and at the lists.

    Args:
        opened: the data set.
        settings: from where on something is a finding.
        embed: vectors for the search for wrong labels; without it, labels are not compared with the sound.
        progress: told after each clip.

    Returns:
        Everything that was found.
    """
    settings = settings or CheckSettings()
    clips = opened.clips
    report = CheckReport(len(clips), 0.0, str(opened.layout), warnings=list(opened.warnings))
    found = [Finding(one.path, one.kind, one.detail) for one in opened.problems]
    found += check_lists(clips, settings.few_clips)
    prints: list[Fingerprint] = []
    vectors: dict[int, NDArray[np.float32]] = {}
    samples_heard = 0
    for index, clip in enumerate(clips):
        progress(index, len(clips), "listening")
        try:
            samples = opened.read(index)
        except DataError as error:
            found.append(Finding(name_of(clip), "unreadable", str(error)))
            prints.append(fingerprint(np.zeros(0, np.int16), opened.sample_rate))
            continue
        samples_heard += samples.size
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
    report.hours = samples_heard / opened.sample_rate / 3600
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
    """Tell of every copy beside one that is kept; of all, where a recording is in two splits."""
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
        detail = f"Labelled {clip.labels[0]}, sounds like {doubt.rival} (nearer by {doubt.margin:.2f})."
        yield Finding(name_of(clip), "mislabelled-looking", detail, doubt.margin)
