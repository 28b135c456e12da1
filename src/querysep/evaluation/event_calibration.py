"""Fitting the event calibration of a detector: for each class the threshold and the median filter of its events.

A grid search for the best event-based F1 on soundscapes, whose onsets and offsets are known. A class with few events
would fit them by chance, so the mean of all classes counts as if it were ten more events of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import Split
from querysep.data.recordings import Recordings
from querysep.detection.events import active_frames, filter_frames, median_filtered, stretches
from querysep.errors import DataError
from querysep.evaluation.metrics.events import Scored, count_events, stacked
from querysep.evaluation.soundscapes import Soundscapes, hear_soundscapes
from querysep.io.event_calibration import ClassRule, EventCalibration
from querysep.model import TrainedDetector
from querysep.progress import Progress, silent

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 19))
MEDIANS_S = (0.0, 0.24, 0.4, 0.56, 0.88, 1.36)
_PLAIN = THRESHOLDS.index(0.5)
_PRIOR_EVENTS = 10.0
_HITS, _DETECTIONS, _EVENTS = range(3)
Counts = NDArray[np.float64]
"""Of a class: hits, detections and events, shape (half, median, threshold, 3); even soundscapes are one half."""


@dataclass(frozen=True)
class EventFit:
    """An event calibration, and what it does for the soundscapes that it was fitted on.

    Attributes:
        calibration: to be written beside the weights.
        soundscapes: how many.
        classes: that sound in them.
        plain_f1: event-based F1 with a threshold of 0.5 and no filter, mean over these classes.
        f1: the same with the calibration, by cross-validation: fitted on one half of the soundscapes, measured on
            the other.
        split: side of the data set that it was fitted on.
    """

    calibration: EventCalibration
    soundscapes: int
    classes: int
    plain_f1: float
    f1: float
    split: Split


def fit_events(
    detector: TrainedDetector,
    recordings: Recordings,
    soundscapes: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> EventFit:
    """Fit the event calibration on soundscapes of the validation side; of the training side where there is none.

    Args:
        detector: what it is for; its network may be on any device.
        recordings: a data set at the detector's rate.
        soundscapes: how many; by default ``Soundscapes.enough``.
        seed: of the soundscapes.
        progress: told after each pass.

    Raises:
        DataError: the side has recordings of fewer than two classes that the detector knows, or one cannot be read.
    """
    split: Split = "validation" if any(clip.split == "validation" for clip in recordings.clips) else "train"
    drawn = Soundscapes(recordings, detector.labels, seed, split)
    count = drawn.enough if soundscapes is None else soundscapes
    counted = count_settings(hear_soundscapes(detector, drawn, count, progress=progress), detector.labels)
    default, classes = choose_rules(counted)
    calibration = EventCalibration(
        detector_hash=detector.hash,
        default=default,
        classes=classes,
        fitted_on=f"{count} soundscapes of the {split} side, seed {seed}",
    )
    plain = [_f1(one.sum(axis=0))[0, _PLAIN] for one in counted.values()]
    return EventFit(calibration, count, len(counted), float(np.mean(plain)), _held_out_f1(counted), split)


def count_settings(scored: Sequence[Scored], labels: Sequence[str]) -> dict[str, Counts]:
    """Count, for every class that has events, what each filter and threshold finds of them.

    Args:
        scored: soundscapes of equal length, with framewise probabilities.
        labels: of the classes.

    Raises:
        DataError: there are no events.
    """
    counted = {}
    for index, label in enumerate(labels):
        truth = [one.events.get(label, []) for one in scored]
        if not any(truth):
            continue
        tracks = stacked(scored, index)
        table = np.zeros((2, len(MEDIANS_S), len(THRESHOLDS), 3))
        for half in range(2):
            table[half, ..., _EVENTS] = sum(map(len, truth[half::2]))
        for median, seconds in enumerate(MEDIANS_S):
            smooth = median_filtered(tracks, filter_frames(seconds, scored[0].frame_s))
            for place, threshold in enumerate(THRESHOLDS):
                active = np.pad(smooth >= threshold, ((0, 0), (1, 0)))
                onsets = (active[:, 1:] & ~active[:, :-1]).sum(axis=1)  # as many as detections
                for number, events in enumerate(truth):
                    if events and onsets[number]:
                        found = active_frames(smooth[number], threshold)
                        times = stretches(found, scored[number].frame_s, scored[number].duration_s)
                        table[number % 2, median, place, _HITS] += count_events(events, times, offsets=True).hits
                for half in range(2):
                    table[half, median, place, _DETECTIONS] = onsets[half::2].sum()
        counted[label] = table
    if not counted:
        raise DataError("The soundscapes hold no events of classes that the detector knows. Give a larger data set.")
    return counted


def choose_rules(counted: Mapping[str, Counts]) -> tuple[ClassRule, dict[str, ClassRule]]:
    """Choose the best filter and threshold for each class, and for the classes that have no events.

    The figure of a class with n events is n times its own F1 plus 10 times the mean F1 of all classes, in which classes
    with fewer than 10 events count less.

    Args:
        counted: as ``count_settings`` gives it.

    Returns:
        The rule of all other classes, which is the best by the mean, and those of the classes.
    """
    own = {label: _f1(one.sum(axis=0)) for label, one in counted.items()}
    events = {label: float(one[:, 0, 0, _EVENTS].sum()) for label, one in counted.items()}
    weights = np.array([min(events[label], _PRIOR_EVENTS) for label in own])
    mean = np.average(np.stack(list(own.values())), axis=0, weights=np.maximum(weights, 1e-9))
    rules = {label: _best(events[label] * f1 + _PRIOR_EVENTS * mean) for label, f1 in own.items()}
    return _best(mean), rules


def _f1(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return event-based F1, shape (median, threshold); 0 where there is neither event nor detection."""
    return 2.0 * counts[..., _HITS] / np.maximum(counts[..., _DETECTIONS] + counts[..., _EVENTS], 1.0)


def _best(figures: NDArray[np.float64]) -> ClassRule:
    """Return the setting with the highest figure, smoothed over thresholds; the middle one of equal ones."""
    padded = np.pad(figures, ((0, 0), (1, 1)), mode="edge")
    smooth = (padded[:, :-2] + 2.0 * padded[:, 1:-1] + padded[:, 2:]) / 4.0
    medians, thresholds = np.nonzero(smooth >= smooth.max() - 1e-9)
    equal = thresholds[medians == medians[0]]
    return ClassRule(threshold=THRESHOLDS[equal[len(equal) // 2]], median_s=MEDIANS_S[medians[0]])


def _held_out_f1(counted: Mapping[str, Counts]) -> float:
    """Return the mean F1 of classes where rules of one half of the soundscapes find the events of the other."""
    sums = {label: np.zeros(3) for label in counted}
    for half in range(2):
        default, rules = choose_rules({label: one[half : half + 1] for label, one in counted.items()})
        for label, one in counted.items():
            rule = rules.get(label, default)
            sums[label] += one[1 - half, MEDIANS_S.index(rule.median_s), THRESHOLDS.index(rule.threshold)]
    return float(np.mean([_f1(one) for one in sums.values()]))
