"""The detection protocol and the soundscapes that it makes."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic_set import RATE, make_set

from querysep.data.clips import ClipBank
from querysep.data.formats.data_set import open_recordings
from querysep.data.manifest import Clip
from querysep.detection.config import HtsatConfig
from querysep.detection.events import Stretch
from querysep.detection.htsat import Htsat
from querysep.errors import DataError
from querysep.evaluation.metrics.events import Scored
from querysep.evaluation.protocols.detection import ALL, DetectionProtocol, event_rows
from querysep.evaluation.report.results import model_facts
from querysep.evaluation.runner import run, write
from querysep.evaluation.soundscapes import DURATION_S, Soundscapes, trim
from querysep.model import save_detector

LABELS = ("Low tone", "High tone", "Clicks", "Sound")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set"), train=0, test=4)


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    folder = tmp_path_factory.mktemp("models") / "ears"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = HtsatConfig(
            n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, classes=4
        )
        save_detector(folder, Htsat(config), LABELS)
    return folder


def test_rows_and_table(data: Path, detector: Path, tmp_path: Path) -> None:
    protocol = DetectionProtocol(data, detector, mixtures=6, device="cpu")
    results = run(protocol, model_facts(detector), tmp_path)
    weak = {row.label: row for row in results.rows if row.group == "weak labels"}
    assert set(weak) == {"Low tone", "High tone", "Clicks", "Sound"}
    assert all(0 <= row.values["ap"] <= 1 and row.values["clips"] >= 4 for row in weak.values())
    groups = {row.label: row.group for row in results.rows if row.group.startswith("retrieval")}
    assert groups["Hiss"] == "retrieval, held-out" and groups["Clicks"] == "retrieval, seen"
    by_name = {summary.name: summary for summary in results.summaries}
    mean_ap = np.mean([row.values["ap"] for row in weak.values()])
    assert by_name["weak labels"].values["map"] == pytest.approx(mean_ap)
    assert by_name["weak labels"].count == 4 and "map" in by_name["weak labels"].intervals
    assert by_name["soundscapes"].count == 6
    often = [row.values["event_f1"] for row in results.rows if row.label != ALL and row.values.get("events", 0) >= 10]
    assert by_name["events, classes with 10 or more"].count == len(often)
    assert {"psds1", "psds2", "event_f1", "onset_f1"} <= set(by_name["soundscapes"].values)
    assert results.identity.settings == {"mixtures": 6, "seed": 0, "teacher": None, "event_calibration": None}
    again = run(DetectionProtocol(data, detector, mixtures=6, device="cpu"), model_facts(detector), tmp_path / "2")
    assert again.to_json() == results.to_json()
    assert "most missed" in write(results, protocol, tmp_path)[2].read_text()


def test_a_class_is_heard_by_what_was_missed_and_mistaken(data: Path, detector: Path) -> None:
    protocol = DetectionProtocol(data, detector, mixtures=1, device="cpu")
    row = next(row for row in protocol.measure("recordings") if row.label == "Clicks")
    assert "Clicks" in row.facts["most missed"] and "Clicks" not in row.facts["most mistaken for it"]
    sounds = protocol.sounds(row)
    assert list(sounds) == ["most missed", "most mistaken for it"]
    assert all(sound.sample_rate == RATE and np.abs(sound.samples).max() > 0.05 for sound in sounds.values())
    assert protocol.sounds(protocol.measure("soundscapes")[0]) == {}


def test_events_count_for_their_class_and_for_all() -> None:
    framewise = np.zeros((3, 100), np.float32)
    framewise[0, 10:30] = 0.9  # found
    framewise[1, 50:60] = 0.9  # at the wrong time
    scored = [Scored({"a": [Stretch(1.0, 3.0)], "b": [Stretch(1.0, 3.0)]}, framewise, 0.1, 10.0)]
    rows = {row.label: row.values for row in event_rows(scored, ("a", "b", "c"))}
    assert set(rows) == {"a", "b", ALL}
    assert (rows["a"]["event_f1"], rows["b"]["event_f1"], rows[ALL]["event_f1"]) == (1.0, 0.0, 0.5)
    assert rows["b"]["events"] == rows["b"]["detections"] == 1.0
    assert not math.isnan(rows[ALL]["psds1"]) and "psds1" not in rows["a"]


def _bank(sounds: Sequence[tuple[tuple[str, ...], NDArray[np.float64]]]) -> ClipBank:
    clips = [
        Clip(
            path=f"{number}.wav",
            labels=labels,
            duration_s=len(sound) / RATE,
            licence="CC0",
            source="made up",
            origin=str(number),
            split="test",
        )
        for number, (labels, sound) in enumerate(sounds)
    ]
    return ClipBank(tuple(clips), tuple((sound * 32767).astype(np.int16) for _, sound in sounds), RATE)


def test_onsets_are_where_the_sound_is() -> None:
    """Each class has its own frequency, so that its events can be found again in the soundscape."""
    frequencies = {"Low": 400.0, "High": 3000.0, "Middle": 1200.0}
    seconds = np.arange(RATE) / RATE
    silence = np.zeros(RATE // 2)
    bank = _bank(
        [
            ((label, "Sound"), np.concatenate((silence, 0.4 * np.sin(2 * np.pi * hz * seconds), silence)))
            for label, hz in frequencies.items()
        ]
    )
    drawn = Soundscapes(bank, ["Low", "High", "Middle", "Sound"], seed=1)
    heard = 0
    for number in range(4):
        scape = drawn.draw(number)
        assert scape.wave.shape == (round(DURATION_S * RATE),) and np.abs(scape.wave).max() < 1.0
        for label, hz in frequencies.items():
            for event in scape.events.get(label, []):
                assert event.offset_s - event.onset_s == pytest.approx(1.0, abs=0.011)
                time_s = np.arange(len(scape.wave)) / RATE
                power = np.abs(np.convolve(scape.wave * np.exp(-2j * np.pi * hz * time_s), np.ones(320) / 320, "same"))
                inside = time_s[power > 0.5 * power.max()]
                assert inside.min() == pytest.approx(event.onset_s, abs=0.02)
                assert inside.max() == pytest.approx(event.offset_s, abs=0.02)
                heard += 1
        parent = scape.events["Sound"]
        assert min(one.onset_s for one in parent) == min(
            e.onset_s for k in frequencies for e in scape.events.get(k, [])
        )
        assert all(one.offset_s < other.onset_s for one, other in pairwise(parent))
    assert heard >= 8
    np.testing.assert_array_equal(drawn.draw(3).wave, Soundscapes(bank, frequencies, seed=1).draw(3).wave)
    assert not np.array_equal(drawn.draw(3).wave, Soundscapes(bank, frequencies, seed=2).draw(3).wave)


def test_held_out_classes_are_in_no_soundscape(data: Path) -> None:
    drawn = Soundscapes(open_recordings(data, RATE, split="test"), [*LABELS, "Hiss"])
    clips = {clip for number in range(10) for clip in drawn.draw(number).clips}
    assert clips and not any("Hiss" in clip for clip in clips)


def test_one_class_makes_no_soundscape() -> None:
    with pytest.raises(DataError, match="recordings of 1 class"):
        Soundscapes(_bank([(("Low",), np.ones(RATE) * 0.1)]), ["Low", "High"])


def test_silent_recordings_are_told() -> None:
    silent = _bank([((label,), np.zeros(RATE)) for label in ("Low", "High")])
    with pytest.raises(DataError, match="too short or too quiet"):
        Soundscapes(silent, ["Low", "High"]).draw(0)


def test_trimming_keeps_the_sound_and_nothing_else() -> None:
    sound = np.full(4_000, 0.5, np.float32)
    padded = np.concatenate((np.zeros(1_600, np.float32), sound, np.full(3_200, 1e-4, np.float32)))
    trimmed = trim(padded, 16_000)
    assert trimmed.shape == (4_000,) and np.all(trimmed == 0.5)
    assert trim(np.zeros(16_000, np.float32), 16_000).shape == (0,)
