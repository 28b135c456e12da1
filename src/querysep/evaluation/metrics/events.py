"""Metrics of detected events against strong labels: collar-based F1 and PSDS.

Both follow the published definitions. The library that gives both, sed_scores_eval, had its last release in May 2024,
so it is no dependency; the tests hold figures that it gave for the same scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from querysep.detection.events import Stretch, active_frames, stretches

COLLAR_S = 0.2
OFFSET_SHARE = 0.2
THRESHOLDS = 50


Strong = dict[str, list[Stretch]]
"""The events of a recording by class; those of one class do not overlap."""


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
    for label in present:
        index = labels.index(label)
        tracks = [one.framewise[index] for one in scored]
        peaks = np.array([track.max(initial=0.0) for track in tracks])
        points = [_point(scored, tracks, peaks >= t, label, present, t, scenario) for t in thresholds]
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


def _reached(false: NDArray[np.float64], true: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest true-positive rate that a class reaches with at most so many false detections an hour."""
    last = np.searchsorted(false, steps, side="right")
    reached: NDArray[np.float64] = np.concatenate(([0.0], true))[last]
    return reached


def _point(
    scored: Sequence[Scored],
    tracks: Sequence[NDArray[np.float32]],
    reached: NDArray[np.bool_],
    label: str,
    present: Sequence[str],
    threshold: float,
    scenario: Scenario,
) -> tuple[float, float]:
    """Return false detections an hour (cross triggers weighed in) and the share of events found, of a class.

    Args:
        scored: recordings.
        tracks: of the class in each of them.
        reached: whether the threshold is reached there at all.
        label: of the class.
        present: the classes that have events.
        threshold: least presence.
        scenario: what counts as found.
    """
    false, hits = 0, 0
    events = sum(len(one.events.get(label, [])) for one in scored)
    hours = sum(one.duration_s for one in scored) / 3600.0
    crossed: dict[str, int] = dict.fromkeys((other for other in present if other != label), 0)
    for place in np.flatnonzero(reached).tolist():
        one = scored[place]
        truth = one.events.get(label, [])
        found = stretches(active_frames(tracks[place], threshold), one.frame_s, one.duration_s)
        good = [d for d in found if _covered(d, truth) >= scenario.detection_tolerance - 1e-9]
        hits += sum(_covered(event, good) >= scenario.truth_intersection - 1e-9 for event in truth)
        false += len(found) - len(good)
        if scenario.cross_trigger_cost and len(good) < len(found):
            for other in crossed.keys() & one.events.keys():
                crossed[other] += sum(
                    _covered(d, one.events[other]) >= scenario.cross_trigger_tolerance - 1e-9
                    for d in found
                    if d not in good
                )
    rate = false / hours
    if crossed and scenario.cross_trigger_cost:
        lengths = {other: _hours_of(scored, other) for other in crossed}
        rates = [count / lengths[other] for other, count in crossed.items()]
        rate += scenario.cross_trigger_cost * float(np.mean(rates))
    return rate, hits / events


def _hours_of(scored: Sequence[Scored], label: str) -> float:
    seconds = sum(event.offset_s - event.onset_s for one in scored for event in one.events.get(label, []))
    return seconds / 3600.0


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
