"""Metrics of detected events against strong labels: collar-based F1 and PSDS.

Both follow the published definitions. The library that gives both, sed_scores_eval, had its last release in May 2024,
so it is no dependency; the tests hold figures that it gave for the same scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from querysep.detection.events import Stretch

COLLAR_S = 0.2
OFFSET_SHARE = 0.2
THRESHOLDS = 50


Strong = dict[str, list[Stretch]]
"""The events of a recording by class; those of one class do not overlap."""
Places = NDArray[np.intp]
"""Indices, one for each of several things."""


@dataclass(frozen=True)
class EventCounts:
    """How many events of a class were found.

    Attributes:
        hits: detections that match an event, and no other does.
        detections: all of them.
        events: in the strong labels.
    """

    hits: int
    detections: int
    events: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; NaN where there is neither event nor detection."""
        both = self.detections + self.events
        return 2.0 * self.hits / both if both else float("nan")

    def __add__(self, other: "EventCounts") -> "EventCounts":
        return EventCounts(self.hits + other.hits, self.detections + other.detections, self.events + other.events)


def count_events(events: Sequence[Stretch], detections: Sequence[Stretch], *, offsets: bool) -> EventCounts:
    """Match the detections of a class in a recording with its events, as many as can be, each at most once.

    A detection fits an event whose onset is at most 200 ms away; with ``offsets`` also the offset has to be near: at
    most 200 ms or a fifth of the event's length, whichever is more (DCASE's rule).

    Args:
        events: of the strong labels.
        detections: of the same class.
        offsets: whether offsets count.
    """
    fits = [[place for place, one in enumerate(events) if _fits(one, found, offsets)] for found in detections]
    taken: dict[int, int] = {}  # event -> detection

    def assign(detection: int, seen: set[int]) -> bool:
        """Give a detection an event, if need be by moving others (Kuhn's algorithm)."""
        for event in fits[detection]:
            if event not in seen:
                seen.add(event)
                if event not in taken or assign(taken[event], seen):
                    taken[event] = detection
                    return True
        return False

    hits = sum(assign(detection, set()) for detection in range(len(detections)))
    return EventCounts(hits, len(detections), len(events))


def _fits(event: Stretch, found: Stretch, offsets: bool) -> bool:
    slack = 1e-6  # a detection exactly at the collar counts, whatever rounding says
    if abs(event.onset_s - found.onset_s) > COLLAR_S + slack:
        return False
    collar_s = max(COLLAR_S, OFFSET_SHARE * (event.offset_s - event.onset_s))
    return not offsets or abs(event.offset_s - found.offset_s) <= collar_s + slack


@dataclass(frozen=True)
class Scored:
    """A recording with strong labels and what the detector says of it.

    Attributes:
        events: by class; classes without events may be missing.
        framewise: shape (class, frame), presence on the scale of the thresholds.
        frame_s: length of a frame, seconds.
        duration_s: of the recording; the last frame may reach beyond it.
    """

    events: Strong
    framewise: NDArray[np.float32]
    frame_s: float
    duration_s: float


@dataclass(frozen=True)
class Scenario:
    """What PSDS asks for (Bilen et al., 2020).

    Attributes:
        detection_tolerance: share of a detection that has to lie in events of its class.
        truth_intersection: share of an event that such detections have to cover.
        cross_trigger_tolerance: share of a false detection in events of another class that makes it a cross trigger.
        cross_trigger_cost: weight of cross triggers beside false detections.
        instability_cost: weight of the deviation between classes.
        most_false_per_hour: where the curve ends.
    """

    detection_tolerance: float
    truth_intersection: float
    cross_trigger_tolerance: float = 0.3
    cross_trigger_cost: float = 0.0
    instability_cost: float = 1.0
    most_false_per_hour: float = 100.0


PSDS1 = Scenario(detection_tolerance=0.7, truth_intersection=0.7)
"""DCASE's first scenario: events have to be found at the right time."""
PSDS2 = Scenario(detection_tolerance=0.1, truth_intersection=0.1, cross_trigger_cost=0.5)
"""DCASE's second scenario: classes must not be taken for each other."""


def psds(scored: Sequence[Scored], labels: Sequence[str], scenario: Scenario) -> float:
    """Return the polyphonic sound detection score over the classes that have events, at 50 thresholds.

    Args:
        scored: recordings, with one list of classes.
        labels: names of the rows of ``framewise``.
        scenario: what counts as found.

    Returns:
        The area under the curve of true positives over false ones per hour, normalised to 0..1; NaN without events.
    """
    present = [label for label in labels if any(one.events.get(label) for one in scored)]
    if not present:
        return float("nan")
    thresholds = (np.arange(THRESHOLDS) + 0.5) / THRESHOLDS
    ends = np.zeros(0)
    curves = []
    truth = _Truth.of(scored, present)
    for place, label in enumerate(present):
        tracks = stacked(scored, labels.index(label))
        points = [_point(tracks, truth, place, float(threshold), scenario) for threshold in thresholds]
        false, true = np.array(points).T
        order = np.lexsort((true, false))
        curves.append((false[order], np.maximum.accumulate(true[order])))
        ends = np.union1d(ends, false)
    ends = ends[ends < scenario.most_false_per_hour]
    steps = np.unique(np.concatenate(([0.0], ends)))
    widths = np.diff(np.append(steps, scenario.most_false_per_hour))
    found = np.stack([_reached(false, true, steps) for false, true in curves])
    effective = np.maximum(found.mean(axis=0) - scenario.instability_cost * found.std(axis=0), 0.0)
    return float(effective @ widths / scenario.most_false_per_hour)


def stacked(scored: Sequence[Scored], index: int) -> NDArray[np.float32]:
    """Return the tracks of a class, shape (recording, frame); those of shorter recordings end in zeros."""
    tracks = np.zeros((len(scored), max(one.framewise.shape[1] for one in scored)), np.float32)
    for place, one in enumerate(scored):
        tracks[place, : one.framewise.shape[1]] = one.framewise[index]
    return tracks


def detections(tracks: NDArray[np.float32], threshold: float) -> tuple[Places, Places, Places]:
    """Return the stretches in which tracks reach a threshold, in order of recordings and times.

    Args:
        tracks: shape (recording, frame).
        threshold: least presence.

    Returns:
        Of each stretch its recording, its first frame and the one after its last.
    """
    active = np.pad(tracks >= threshold, ((0, 0), (1, 1)))
    recordings, onsets = np.nonzero(active[:, 1:] & ~active[:, :-1])
    return recordings, onsets, np.nonzero(~active[:, 1:] & active[:, :-1])[1]


@dataclass(frozen=True)
class _Truth:
    """The strong labels of recordings, laid out so that many stretches of frames are compared with them at once.

    Attributes:
        bounds: times at which frames begin and end, shape (recording, frame + 1), seconds.
        classes: of each pair of a recording and a class that sounds in it, in order of recordings, shape (pair,).
        inside: seconds of events of the pair before each bound, shape (pair, frame + 1).
        first: the first pair of each recording, and after them the number of pairs, shape (recording + 1,).
        events: of each class: recording and stretch.
        hours: of all recordings.
        hours_of_classes: in which each class sounds, shape (class,).
    """

    bounds: NDArray[np.float64]
    classes: Places
    inside: NDArray[np.float64]
    first: Places
    events: list[list[tuple[int, Stretch]]]
    hours: float
    hours_of_classes: NDArray[np.float64]

    @classmethod
    def of(cls, scored: Sequence[Scored], present: Sequence[str]) -> Self:
        """Lay out what sounds in recordings; ``present`` are the classes that have events."""
        frames = np.arange(max(one.framewise.shape[1] for one in scored) + 1)
        bounds = np.stack([np.minimum(frames * one.frame_s, one.duration_s) for one in scored])
        places = {label: place for place, label in enumerate(present)}
        classes, inside, first = [], [], [0]
        events: list[list[tuple[int, Stretch]]] = [[] for _ in present]
        for recording, one in enumerate(scored):
            for label, stretches_of in one.events.items():
                if label in places and stretches_of:
                    classes.append(places[label])
                    before = [np.clip(bounds[recording] - e.onset_s, 0.0, e.offset_s - e.onset_s) for e in stretches_of]
                    inside.append(np.sum(before, axis=0))
                    events[places[label]] += [(recording, event) for event in stretches_of]
            first.append(len(classes))
        lengths = [sum(event.offset_s - event.onset_s for _, event in of_class) for of_class in events]
        return cls(
            bounds,
            np.array(classes),
            np.stack(inside),
            np.array(first),
            events,
            sum(one.duration_s for one in scored) / 3600.0,
            np.array(lengths) / 3600.0,
        )


def _reached(false: NDArray[np.float64], true: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest true-positive rate that a class reaches with at most so many false detections an hour."""
    last = np.searchsorted(false, steps, side="right")
    reached: NDArray[np.float64] = np.concatenate(([0.0], true))[last]
    return reached


def _point(
    tracks: NDArray[np.float32], truth: _Truth, place: int, threshold: float, scenario: Scenario
) -> tuple[float, float]:
    """Return false detections an hour (cross triggers weighed in) and the share of events found, of a class.

    Args:
        tracks: of the class, shape (recording, frame).
        truth: of all classes that have events.
        place: of the class among them.
        threshold: least presence.
        scenario: what counts as found.
    """
    recordings, onsets, offsets = detections(tracks, threshold)
    lengths = truth.bounds[recordings, offsets] - truth.bounds[recordings, onsets]
    counts = truth.first[recordings + 1] - truth.first[recordings]
    which = np.repeat(np.arange(len(recordings)), counts)  # every detection with every class of its recording
    pairs = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts) + truth.first[recordings][which]
    seconds = truth.inside[pairs, offsets[which]] - truth.inside[pairs, onsets[which]]
    covered = seconds / np.maximum(lengths[which], 1e-12)
    own = truth.classes[pairs] == place
    good = np.zeros(len(recordings), dtype=bool)
    good[which[own & (covered >= scenario.detection_tolerance - 1e-9)]] = True
    hits = _hits(truth, place, (recordings[good], onsets[good], offsets[good]), scenario)
    rate = float((~good).sum()) / truth.hours
    if scenario.cross_trigger_cost and len(truth.events) > 1:
        crossed = ~own & ~good[which] & (covered >= scenario.cross_trigger_tolerance - 1e-9)
        triggers = np.bincount(truth.classes[pairs[crossed]], minlength=len(truth.events)) / truth.hours_of_classes
        rate += scenario.cross_trigger_cost * float(np.delete(triggers, place).mean())
    return rate, hits / len(truth.events[place])


def _hits(truth: _Truth, place: int, good: tuple[Places, Places, Places], scenario: Scenario) -> int:
    """Count the events of a class that are covered by its good detections."""
    by_recording: dict[int, list[Stretch]] = {}
    for recording, onset, offset in zip(*(part.tolist() for part in good), strict=True):
        bounds = truth.bounds[recording]
        by_recording.setdefault(recording, []).append(Stretch(float(bounds[onset]), float(bounds[offset])))
    return sum(
        _covered(event, by_recording[recording]) >= scenario.truth_intersection - 1e-9
        for recording, event in truth.events[place]
        if recording in by_recording
    )


def _covered(stretch: Stretch, others: Sequence[Stretch]) -> float:
    """Return the share of a stretch that lies in others, which do not overlap each other."""
    length = stretch.offset_s - stretch.onset_s
    inside = sum(
        max(0.0, min(stretch.offset_s, other.offset_s) - max(stretch.onset_s, other.onset_s)) for other in others
    )
    return inside / length if length > 0 else 0.0


def joined_stretches(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Return stretches in order, those that overlap or touch as one."""
    joined: list[Stretch] = []
    for stretch in sorted(stretches):
        if joined and stretch.onset_s <= joined[-1].offset_s:
            joined[-1] = Stretch(joined[-1].onset_s, max(joined[-1].offset_s, stretch.offset_s))
        else:
            joined.append(stretch)
    return joined
