"""Fitting the event calibration: planted thresholds and filters are found, and few events do not decide."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic_set import RATE, make_set

from querysep.data.formats.data_set import open_recordings
from querysep.detection.events import Stretch, calibrated
from querysep.detection.windows import PresenceMap
from querysep.errors import DataError
from querysep.evaluation.event_calibration import MEDIANS_S, THRESHOLDS, choose_rules, count_settings, fit_events
from querysep.evaluation.metrics.events import Scored
from querysep.evaluation.protocols.detection import ALL, event_rows
from querysep.io.event_calibration import EventCalibration
from querysep.model import TrainedDetector, load_detector

FRAME_S, FRAMES = 0.08, 125
LABELS = ("Low tone", "High tone", "Clicks", "Sound")


def scapes(count: int, **classes: tuple[float, float, int]) -> list[Scored]:
    """Soundscapes in which a class is heard with a floor, a peak, and blips or gaps of so many frames.

    Frames inside an event are at the peak, those outside at the floor.
    """
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        framewise = np.zeros((len(classes), FRAMES), np.float32)
        events = {}
        for index, (label, (floor, peak, blip)) in enumerate(classes.items()):
            onset, length = int(rng.integers(20, 60)), int(rng.integers(20, 40))
            events[label] = [Stretch(onset * FRAME_S, (onset + length) * FRAME_S)]
            track: NDArray[np.float32] = np.full(FRAMES, floor, np.float32)
            track[onset : onset + length] = peak
            if blip:
                track[4 : 4 + blip] = track[12 : 12 + blip] = peak
                track[onset + 9 : onset + 9 + blip] = floor
            framewise[index] = track
        made.append(Scored(events, framewise, FRAME_S, 10.0))
    return made


def test_planted_thresholds_and_filters_are_found() -> None:
    planted = {"quiet": (0.05, 0.15, 0), "loud": (0.7, 0.9, 0), "flickering": (0.3, 0.6, 2)}
    scored = scapes(40, **planted)
    _, rules = choose_rules(count_settings(scored, tuple(planted)))
    for label, (floor, peak, _) in planted.items():
        assert floor < rules[label].threshold <= peak
    assert rules["quiet"].median_s == rules["loud"].median_s == 0.0
    assert rules["flickering"].median_s >= 0.4
    calibration = EventCalibration(detector_hash="", default=rules["quiet"], classes=rules, fitted_on="")
    before = {row.label: row.values["event_f1"] for row in event_rows(scored, tuple(planted))}
    found = []
    for one in scored:
        presence = PresenceMap(one.framewise, FRAME_S, 10.0, one.framewise.max(axis=1))
        scaled = calibrated(presence, tuple(planted), calibration)
        found.append(Scored(one.events, scaled.framewise, FRAME_S, 10.0))
    after = {row.label: row.values["event_f1"] for row in event_rows(found, tuple(planted))}
    assert before["quiet"] == before["loud"] == 0.0
    assert after == dict.fromkeys((*planted, ALL), 1.0)


def test_a_class_with_few_events_goes_with_the_others() -> None:
    common = scapes(30, common=(0.1, 0.4, 0), rare=(0.0, 0.0, 0))
    for number, one in enumerate(common):
        one.events.pop("rare")
        if number == 7:
            one.events["rare"] = [Stretch(4.0, 6.4)]
            one.framewise[1, 50:80] = 0.95
            one.framewise[1, 5:45] = 0.8
    counted = count_settings(common, ("common", "rare"))
    default, rules = choose_rules(counted)
    assert set(rules) == {"common", "rare"}
    assert rules["rare"] == rules["common"] == default
    many = [*common, *[common[7]] * 40]
    assert 0.8 < choose_rules(count_settings(many, ("common", "rare")))[1]["rare"].threshold <= 0.95


def test_counts_are_of_halves_and_of_all_false_alarms() -> None:
    scored = scapes(4, one=(0.1, 0.9, 0))
    empty = Scored({}, np.full((1, FRAMES), 0.3, np.float32), FRAME_S, 10.0)
    table = count_settings([*scored, empty], ("one",))["one"]
    assert table.shape == (2, len(MEDIANS_S), len(THRESHOLDS), 3)
    high, low = THRESHOLDS.index(0.5), THRESHOLDS.index(0.25)
    assert table[:, 0, high].tolist() == [[2, 2, 2], [2, 2, 2]]
    assert table[:, 0, low].tolist() == [[2, 3, 2], [2, 2, 2]]


@pytest.fixture
def detector(tiny_model: Path) -> TrainedDetector:
    return TrainedDetector(load_detector(tiny_model).network, LABELS)


def test_a_fit_is_for_this_detector_and_always_the_same(detector: TrainedDetector, tmp_path: Path) -> None:
    make_set(tmp_path, train=2, validation=2, test=0)
    recordings = open_recordings(tmp_path, RATE)
    one, two = (fit_events(detector, recordings, 6) for _ in range(2))
    assert one == two
    assert (one.split, one.soundscapes, one.classes) == ("validation", 6, 4)
    assert one.calibration.detector_hash == detector.hash
    assert set(one.calibration.classes) == set(LABELS)
    assert "6 soundscapes of the validation side" in one.calibration.fitted_on
    assert fit_events(detector, recordings, 6, seed=1) != one


def test_the_training_side_where_there_is_no_other(detector: TrainedDetector, tmp_path: Path) -> None:
    make_set(tmp_path, train=2, test=0)
    assert fit_events(detector, open_recordings(tmp_path, RATE), 2).split == "train"
    deaf = TrainedDetector(detector.network, ("Dog", "Cat", "Rain", "Clicks"))
    with pytest.raises(DataError, match="train side has recordings of 1 class"):
        fit_events(deaf, open_recordings(tmp_path, RATE), 2)
