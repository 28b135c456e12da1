"""From presence maps to events: filters, thresholds and stretches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querysep.detection.events import active_frames, calibrated, events, filter_frames, median_filtered
from querysep.detection.windows import PresenceMap
from querysep.io.event_calibration import ClassRule, EventCalibration

LABELS = ("Dog", "Bell")


def heard(*tracks: list[float], frame_s: float = 0.08) -> PresenceMap:
    framewise = np.array(tracks, np.float32)
    return PresenceMap(framewise, frame_s, framewise.shape[1] * frame_s, framewise.max(axis=1))


def rules(**classes: tuple[float, float]) -> EventCalibration:
    named = {label: ClassRule(threshold=threshold, median_s=median) for label, (threshold, median) in classes.items()}
    default = named.pop("default", ClassRule(threshold=0.5, median_s=0.0))
    return EventCalibration(detector_hash="0", default=default, classes=named, fitted_on="nothing")


@pytest.mark.parametrize(
    ("median_s", "frame_s", "frames"),
    [(0, 0.08, 1), (0.24, 0.08, 3), (0.4, 0.08, 5), (0.48, 0.08, 5), (0.56, 0.08, 7), (0.9, 0.32, 1), (0.96, 0.32, 3)],
)
def test_a_filter_holds_an_odd_number_of_frames(median_s: float, frame_s: float, frames: int) -> None:
    assert filter_frames(median_s, frame_s) == frames


@given(st.integers(25, 60), st.sampled_from([3, 5, 11, 25]))  # scipy errs in rows shorter than the filter
def test_medians_are_those_of_scipy(time: int, frames: int) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    tracks = np.random.default_rng(time).random((2, 3, time)).astype(np.float32)
    expected = np.apply_along_axis(ndimage.median_filter, -1, tracks, size=frames, mode="reflect")
    np.testing.assert_array_equal(median_filtered(tracks, frames), expected)


def test_without_a_calibration_nothing_changes() -> None:
    presence = heard([0.1, 0.6], [0.5, 0.49])
    assert calibrated(presence, LABELS, None) is presence
    plain = calibrated(presence, LABELS, rules())
    np.testing.assert_allclose(plain.framewise, presence.framewise, atol=1e-7)


def test_half_stands_for_the_threshold_of_each_class() -> None:
    presence = heard([0.0, 0.1, 0.2, 0.6, 1.0], [0.1, 0.7, 0.8, 0.9, 0.3])
    scaled = calibrated(presence, LABELS, rules(Dog=(0.2, 0.0), default=(0.8, 0.0)))
    dog, bell = scaled.framewise
    assert dog[2] == bell[2] == 0.5
    np.testing.assert_allclose(dog, [0.0, 0.1 / 0.325, 0.5, 0.6 / 0.7, 1.0], rtol=1e-5)  # odds times 4
    assert [one.label for one in events(scaled, LABELS)] == ["Dog", "Bell"]
    assert [(round(one.onset_s / 0.08), round(one.offset_s / 0.08)) for one in events(scaled, LABELS)] == [
        (2, 5),
        (2, 4),
    ]
    at_third = [one for one in events(scaled, LABELS, 0.3) if one.label == "Dog"]
    assert [round(one.onset_s / 0.08) for one in at_third] == [1]
    np.testing.assert_array_equal(scaled.clipwise, presence.clipwise)


@given(st.floats(0.01, 0.99), st.integers(0, 9))
def test_events_are_where_the_probability_reaches_the_threshold(threshold: float, seed: int) -> None:
    track = np.random.default_rng(seed).random(60).astype(np.float32)
    track = np.where(np.abs(track - np.float32(threshold)) < 1e-6, np.float32(0.0), track)
    scaled = calibrated(heard(track.tolist()), ("Dog",), rules(Dog=(threshold, 0.0))).framewise[0]
    np.testing.assert_array_equal(active_frames(scaled, 0.5), track >= threshold)
    assert (np.diff(scaled[np.argsort(track)]) >= 0).all()


def test_a_filter_closes_gaps_and_drops_blips_of_its_class_alone() -> None:
    track = [0.0, 0.9, 0.0, 0.0, 0.0, 0.9, 0.9, 0.1, 0.9, 0.9, 0.0, 0.0]
    scaled = calibrated(heard(track, track), LABELS, rules(Dog=(0.5, 0.24)))
    found = [(one.label, round(one.onset_s / 0.08), round(one.offset_s / 0.08)) for one in events(scaled, LABELS)]
    assert sorted(found) == [("Bell", 1, 2), ("Bell", 5, 7), ("Bell", 8, 10), ("Dog", 5, 10)]


def test_a_stretch_may_end_below_the_threshold() -> None:
    track = np.array([0.1, 0.3, 0.6, 0.3, 0.2, 0.3, 0.4, 0.1], np.float32)
    assert np.flatnonzero(active_frames(track, 0.5)).tolist() == [2]
    assert np.flatnonzero(active_frames(track, 0.5, ends_below=0.25)).tolist() == [1, 2, 3]


def test_silence_is_no_event() -> None:
    assert [one.label for one in events(heard([0.9], [0.9]), ("Dog", "Silence"))] == ["Dog"]
