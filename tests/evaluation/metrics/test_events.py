"""Event metrics by hand, and against the figures of another library."""

import numpy as np
import pytest
from strong_labels import DURATION_S, FRAME_S, LABELS, made_up

from querysep.detection.events import Stretch, active_frames, stretches
from querysep.evaluation.metrics.events import (
    PSDS1,
    PSDS2,
    EventCounts,
    Scenario,
    Scored,
    count_events,
    joined_stretches,
    psds,
)


@pytest.fixture(scope="module")
def scored() -> list[Scored]:
    return [
        Scored(
            {label: [Stretch(*one) for one in found] for label, found in events.items()}, scores, FRAME_S, DURATION_S
        )
        for events, scores in made_up()
    ]


@pytest.mark.parametrize(("scenario", "reference"), [(PSDS1, 0.13815030443283355), (PSDS2, 0.1958309649089164)])
def test_psds_is_that_of_sed_scores_eval(scored: list[Scored], scenario: Scenario, reference: float) -> None:
    """`intersection_based.psds` of sed_scores_eval 0.0.4 (with pandas 2) for the same recordings."""
    assert psds(scored, LABELS, scenario) == pytest.approx(reference, abs=1e-9)


@pytest.mark.parametrize(
    ("offsets", "reference"),
    [
        (True, (0.2571428571428572, 0.27272727272727276, 0.29508196721311475)),
        (False, (0.4571428571428572, 0.4848484848484849, 0.5901639344262295)),
    ],
)
def test_f1_is_that_of_sed_scores_eval(scored: list[Scored], offsets: bool, reference: tuple[float, ...]) -> None:
    """Its `collar_based.fscore`: threshold 0.49 (it takes what is above), collars 0.2 s, offset rate 0.2 or 1e6."""
    for index, (label, expected) in enumerate(zip(LABELS, reference, strict=True)):
        counts = EventCounts(0, 0, 0)
        for one in scored:
            found = stretches(active_frames(one.framewise[index], 0.5), FRAME_S, DURATION_S)
            counts += count_events(one.events.get(label, []), found, offsets=offsets)
        assert counts.f1 == pytest.approx(expected, abs=1e-9)


def test_matches_are_as_many_as_can_be() -> None:
    """Taken first come, first served, the first detection would take the event that the second needs."""
    events = [Stretch(1.0, 2.0), Stretch(1.3, 2.0)]
    detections = [Stretch(1.15, 2.0), Stretch(0.9, 2.0)]
    assert count_events(events, detections, offsets=True) == EventCounts(2, 2, 2)
    assert count_events(events[:1], [Stretch(1.0, 2.0)] * 2, offsets=True) == EventCounts(1, 2, 1)


@pytest.mark.parametrize(
    ("detection", "onsets", "both"),
    [
        (Stretch(1.2, 5.0), 1, 1),
        (Stretch(1.21, 5.0), 0, 0),
        (Stretch(1.0, 5.8), 1, 1),
        (Stretch(1.0, 5.81), 1, 0),
    ],
)
def test_collars(detection: Stretch, onsets: int, both: int) -> None:
    """An event of 4 s: 200 ms at the onset, a fifth of its length at the offset."""
    event = [Stretch(1.0, 5.0)]
    assert count_events(event, [detection], offsets=False).hits == onsets
    assert count_events(event, [detection], offsets=True).hits == both


def test_counts_give_f1() -> None:
    assert EventCounts(2, 4, 2).f1 == pytest.approx(2 / 3)
    assert np.isnan(EventCounts(0, 0, 0).f1)
    assert EventCounts(0, 0, 3).f1 == 0.0


def test_a_perfect_detector_gets_all_and_a_deaf_one_nothing() -> None:
    truth = {"Dog": [Stretch(1.0, 3.0)], "Bell": [Stretch(2.0, 6.0)]}
    perfect = np.zeros((2, 100), np.float32)
    perfect[0, 10:30] = perfect[1, 20:60] = 1.0
    for scenario in (PSDS1, PSDS2):
        assert psds([Scored(truth, perfect, 0.1, 10.0)], ("Dog", "Bell"), scenario) == pytest.approx(1.0)
        assert psds([Scored(truth, 0 * perfect, 0.1, 10.0)], ("Dog", "Bell"), scenario) == 0.0
    swapped = perfect[::-1].copy()
    assert psds([Scored(truth, swapped, 0.1, 10.0)], ("Dog", "Bell"), PSDS1) == 0.0


def test_stretches_end_with_the_recording_and_join() -> None:
    track = np.array([0.6, 0.0, 0.5, 0.9], np.float32)
    assert stretches(active_frames(track, 0.5), 0.5, 1.75) == [Stretch(0.0, 0.5), Stretch(1.0, 1.75)]
    assert joined_stretches([Stretch(2, 3), Stretch(0, 1), Stretch(0.5, 0.7), Stretch(1, 1.5)]) == [
        Stretch(0, 1.5),
        Stretch(2, 3),
    ]
