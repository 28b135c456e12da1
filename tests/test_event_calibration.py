"""The event calibration of a model: all find the same events by it, and that of another detector does not count."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calibrations import event_calibration
from numpy.typing import NDArray
from recordings import WriteTone
from synthetic_set import RATE, make_set

import querysep
from querysep.data.formats.data_set import open_recordings
from querysep.detection.windows import Heard, PresenceMap
from querysep.errors import WeightsError
from querysep.evaluation.protocols.detection import DetectionProtocol
from querysep.evaluation.soundscapes import DURATION_S, Soundscapes, hear_soundscapes
from querysep.io.event_calibration import read_events, write_events
from querysep.model import TrainedDetector, load_detector, load_model, save_detector, save_model
from querysep.pipeline.detector import Listener

LABELS = ("Dog", "Bell", "Rain", "Speech")
FRAME_S = 0.08
Hear = Callable[[], PresenceMap]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A model with an event calibration."""
    folder = shutil.copytree(tiny_model, tmp_path / "model")
    write_events(folder, event_calibration(load_detector(folder).hash))
    return folder


@pytest.fixture
def presence(monkeypatch: pytest.MonkeyPatch) -> PresenceMap:
    """What the detector says of any ten seconds: noise that dwells, so that thresholds and filters matter."""
    rng = np.random.default_rng(3)
    steps = rng.standard_normal((4, round(DURATION_S / FRAME_S)))
    track = np.apply_along_axis(lambda row: np.convolve(row, np.ones(6) / 2.4, "same"), 1, steps)
    framewise: NDArray[np.float32] = (1.0 / (1.0 + np.exp(-2.0 * track - rng.standard_normal(track.shape)))).astype(
        np.float32
    )
    heard = PresenceMap(framewise, FRAME_S, DURATION_S, framewise.max(axis=1))
    monkeypatch.setattr(Listener, "finish", lambda self: heard)
    monkeypatch.setattr(
        "querysep.evaluation.soundscapes.hear", lambda network, waves, device: [Heard(heard, None)] * len(waves)
    )
    return heard


def test_detect_split_and_the_protocol_find_the_same(
    folder: Path, presence: PresenceMap, write_tone: WriteTone, tmp_path: Path
) -> None:
    path = write_tone("mix.wav", seconds=DURATION_S)
    separator = querysep.Separator.load(folder, "cpu")
    found = separator.detector.detect(path)
    assert separator.split(path).events == found
    assert separator.detector.events(presence) == found
    (tmp_path / "data").mkdir()
    make_set(tmp_path / "data", train=0, test=2)
    detector = TrainedDetector(separator.model.detector, LABELS, separator.model.events)
    sounds = ("Low tone", "High tone", "Clicks")
    drawn = Soundscapes(open_recordings(tmp_path / "data", RATE, split="test"), sounds)
    (scored,) = hear_soundscapes(detector, drawn, 1, detector.events)
    from querysep.evaluation.protocols.detection import event_rows

    rows = {row.label: row.values["detections"] for row in event_rows([scored], LABELS)}
    for label in LABELS:
        assert rows[label] == sum(event.label == label for event in found) > 0
    plain = replace(separator.model, events=None)
    assert querysep.Detector(plain).detect(path) != found
    wider = querysep.Separator(plain).split(path).events  # stretches end at half the threshold then
    assert sum(one.offset_s - one.onset_s for one in wider) > sum(
        one.offset_s - one.onset_s for one in querysep.Detector(plain).detect(path)
    )


def test_the_threshold_of_users_is_on_the_calibrated_scale(folder: Path, presence: PresenceMap) -> None:
    detector = querysep.Detector.load(folder, "cpu")
    assert detector.model.events is not None
    for threshold in (0.3, 0.5, 0.8):
        found = detector.events(presence, threshold)
        assert all(threshold <= event.score <= 1 for event in found)
        dog = detector.model.events.rule("Dog").threshold  # no filter
        odds = threshold / (1 - threshold) * dog / (1 - dog)
        frames = int((presence.framewise[0] >= odds / (1 + odds)).sum())
        seconds = sum(event.offset_s - event.onset_s for event in found if event.label == "Dog")
        assert seconds == pytest.approx(frames * FRAME_S)


def test_it_goes_with_the_detector(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder, "cpu")
    assert model.events is not None and load_detector(folder).events == model.events
    save_detector(tmp_path / "alone", model.detector, model.labels)
    assert load_detector(tmp_path / "alone").events is None
    shutil.copy(folder / "events.json", tmp_path / "alone")
    assert load_detector(tmp_path / "alone").events is None  # the copy is in float16, another detector
    write_events(tmp_path / "alone", event_calibration(load_detector(tmp_path / "alone").hash))
    alone = load_detector(tmp_path / "alone")
    assert alone.events is not None
    networks = alone.network, model.separator
    save_model(tmp_path / "whole", model.config, *networks, "", half=True, events=alone.events)
    assert load_model(tmp_path / "whole", "cpu").events == alone.events


def test_one_of_another_detector_or_of_other_classes_does_not_count(folder: Path) -> None:
    good = read_events(folder)
    assert good is not None
    write_events(folder, good.model_copy(update={"detector_hash": "another"}))
    assert load_model(folder, "cpu").events is None
    write_events(folder, good.model_copy(update={"classes": {"Whale": good.default}}))
    assert load_model(folder, "cpu").events is None
    (folder / "events.json").unlink()
    assert load_model(folder, "cpu").events is None


def test_what_is_written_is_read(folder: Path) -> None:
    good = read_events(folder)
    assert good is not None and len(good.classes) == 2
    assert read_events(folder.parent) is None
    write_events(folder, good.model_copy(update={"classes": {}}))
    assert read_events(folder) == good.model_copy(update={"classes": {}})
    assert good.hash != good.model_copy(update={"classes": {}}).hash


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"default": {"threshold": 1.5, "median_s": 0}}, "threshold"),
        ({"classes": {"Dog": {"threshold": 0.5}}}, "median_s"),
        ({"format": "something"}, "format"),
    ],
)
def test_a_damaged_calibration_is_told(folder: Path, change: dict[str, object], message: str) -> None:
    content = json.loads((folder / "events.json").read_text()) | change
    (folder / "events.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(folder, "cpu")
    assert "querysep calibrate" in str(caught.value)


def test_the_protocol_names_the_calibration(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    make_set(tmp_path / "data", train=0, test=2)
    model = load_model(folder, "cpu")
    save_detector(tmp_path / "ears", model.detector, ("Low tone", "High tone", "Clicks", "Sound"))
    named = load_detector(tmp_path / "ears")
    calibration = event_calibration(named.hash).model_copy(update={"classes": {}})
    plain = DetectionProtocol(tmp_path / "data", tmp_path / "ears", device="cpu")
    assert plain.settings()["event_calibration"] is None
    assert plain.settings()["mixtures"] == 300
    write_events(tmp_path / "ears", calibration)
    protocol = DetectionProtocol(tmp_path / "data", tmp_path / "ears", mixtures=2, device="cpu")
    assert protocol.settings()["event_calibration"] == calibration.hash
