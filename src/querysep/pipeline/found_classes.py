"""What is in a mixture, class by class, as it is taken apart: from a presence map to groups and their stretches."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from querysep.data.ontology import Ontology, audioset
from querysep.detection.events import SILENCE, Event, active_frames, calibrated, events_of
from querysep.detection.windows import PresenceMap
from querysep.errors import ConfigError
from querysep.io.event_calibration import EventCalibration

Level = Literal[1, 2, 3]
_PLACES = "Acoustic environment"
LEVELS: tuple[int, ...] = get_args(Level)
_TOO_WIDE = frozenset({"Musical instrument"})  # all of music would be one group


@dataclass(frozen=True)
class FoundGroup:
    """Classes that become one stem.

    Attributes:
        label: of the group: a class of the model, or one of the ontology above it.
        classes: the classes of the model that were found, the most present first: their places in the presence map.
        track: how present the group is, shape (frame,), 0..1.
        active: where it is present, shape (frame,).
        events: the same as times; score is the largest presence within.
    """

    label: str
    classes: tuple[int, ...]
    track: NDArray[np.float32]
    active: NDArray[np.bool_]
    events: tuple[Event, ...]

    @property
    def amount(self) -> float:
        """How much of it there is: the sum of its presence over the frames where it is there."""
        return float(self.track[self.active].sum())


def found_groups(
    presence: PresenceMap,
    labels: Sequence[str],
    level: Level,
    threshold: float,
    ontology: Ontology | None = None,
    calibration: EventCalibration | None = None,
) -> list[FoundGroup]:
    """Find what is in a mixture.

    With an event calibration, stretches are those of ``Detector.events``. Without one, a stretch begins and ends where
    the presence crosses half the threshold, and must reach the threshold somewhere.
    Silence and the places in which sounds are heard are no group: nothing could be taken out.
    On level 3 a class that has kinds among the model's classes counts only where none of them is heard, and only if
    that is most of the time that it is heard: a snare drum is no second drum.

    Args:
        presence: of the mixture.
        labels: of its classes.
        level: 1 gives the widest groups of the ontology, 2 the families below them, 3 the model's own classes.
        threshold: least presence, 0..1.
        ontology: by default AudioSet's.
        calibration: of the detector.

    Returns:
        The groups, that of which there is most first.
    """
    known = audioset() if ontology is None else ontology
    presence = calibrated(presence, labels, calibration)
    ends_below = threshold / 2 if calibration is None else threshold
    members: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        if _is_no_source(label, known):
            continue
        members.setdefault(group_of(label, level, known), []).append(index)
    found = []
    for label, indices in members.items():
        tracks = presence.framewise[indices]
        active = active_frames(tracks.max(axis=0), threshold, ends_below)
        heard = [place for place in range(len(indices)) if (tracks[place] >= threshold).any()]
        heard.sort(key=lambda place: -float(tracks[place, active].sum()))
        if heard:
            chosen = tuple(indices[place] for place in heard)
            found.append(_group(label, chosen, tracks.max(axis=0), active, presence))
    if level == 3:
        found = _without_parents(found, presence, known)
    return sorted(found, key=lambda group: -group.amount)


def _is_no_source(label: str, ontology: Ontology) -> bool:
    """Tell whether a class is silence, or the place where sounds are heard: there is nothing to take out."""
    return label == SILENCE or (label in ontology and _PLACES in ontology.ancestors(label))


def group_of(label: str, level: Level, ontology: Ontology) -> str:
    """Name the group of a class: itself on level 3, and where the ontology does not know it."""
    if level == 3 or label not in ontology:
        return label
    line = _line(label, ontology)
    if level == 1:
        return line[0]
    below = 2 if len(line) > 2 and line[1] in _TOO_WIDE else 1
    return line[min(below, len(line) - 1)]


def check_level(level: int) -> Level:
    """Refuse a level that does not exist.

    Raises:
        ConfigError: it is not 1, 2 or 3.
    """
    if level in LEVELS:
        return cast(Level, level)
    raise ConfigError(f"There is no level {level}. Choose 1 (widest groups), 2 (families) or 3 (the model's classes).")


def slugs(labels: Sequence[str], ontology: Ontology | None = None) -> dict[str, str]:
    """Give every label a short name for files: its first synonym, or all of it where another begins the same.

    The name of a label does not depend on which others were found: all labels of the ontology are looked at.
    """
    known = audioset() if ontology is None else ontology
    everything = list(dict.fromkeys((*labels, *known.names)))
    short = {label: _slug(label.split(",")[0]) for label in everything}
    taken: dict[str, int] = {}
    for slug in short.values():
        taken[slug] = taken.get(slug, 0) + 1
    reserved = ("", "rest", "events", "report")
    names: dict[str, str] = {}
    for label in labels:
        alone = taken[short[label]] == 1 and short[label] not in reserved
        name = short[label] if alone else f"class-{_slug(label)}"
        more = sum(other == name or other.startswith(f"{name}-again-") for other in names.values())
        names[label] = f"{name}-again-{more + 1}" if more else name
    return names


def _slug(text: str) -> str:
    return re.sub(r"[^\w]+", "-", text.casefold()).strip("-")[:60]


def _line(label: str, ontology: Ontology) -> tuple[str, ...]:
    """Return the shortest way from a root down to a class."""
    ways = [(*_line(parent, ontology), label) for parent in ontology.parents(label)]
    return min(ways, key=len, default=(label,))


def _group(
    label: str,
    classes: tuple[int, ...],
    track: NDArray[np.float32],
    active: NDArray[np.bool_],
    presence: PresenceMap,
) -> FoundGroup:
    events = tuple(events_of(label, track, active, presence))
    return FoundGroup(label, classes, track, active, events)


def _without_parents(found: list[FoundGroup], presence: PresenceMap, ontology: Ontology) -> list[FoundGroup]:
    """Leave a class out where a kind of it is heard, and wholly if little of it is left."""
    kept = []
    for group in found:
        kinds = ontology.descendants(group.label) if group.label in ontology else frozenset()
        of_kinds = [other.active for other in found if other.label in kinds]
        if not of_kinds:
            kept.append(group)
            continue
        alone = group.active & ~np.logical_or.reduce(of_kinds)
        if 2 * int(alone.sum()) > int(group.active.sum()):
            kept.append(_group(group.label, group.classes, group.track, alone, presence))
    return kept
