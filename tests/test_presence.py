"""Presence: what the score is made of, what it does to target and residual, and what models without one do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from calibrations import open_calibration
from recordings import WriteTone, tone

from querysep.errors import WeightsError
from querysep.io.presence_calibration import read_presence, write_presence
from querysep.model import load_model
from querysep.pipeline import Separator
from querysep.pipeline.presence import (
    HeardWindows,
    PresenceGate,
    coverage,
    gain_of,
    hear_windows,
    presence_features,
    probability,
)
from querysep.types import FloatArray

RATE = 32_000


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


def closed(folder: Path) -> Separator:
    write_presence(folder, open_calibration(folder, bias=-9.0))
    return Separator.load(folder, "cpu")


def level_db(part: FloatArray, whole: FloatArray) -> float:
    return float(10 * np.log10(np.square(part).mean() / np.square(whole).mean()))


def test_coverage() -> None:
    framewise = torch.zeros(2, 3, 5)
    framewise[1, 0, 4] = 0.8
    assert coverage(torch.tensor([0.8, 0.0, 0.0]), framewise) == pytest.approx(1.0)
    assert coverage(torch.tensor([0.8, 0.8, 0.0]), framewise) == pytest.approx(0.5)
    assert coverage(torch.tensor([0.0, 0.5, 0.0]), framewise) == 0.0
    assert coverage(torch.zeros(3), framewise) == 0.0


def test_each_feature_grows_with_what_it_measures() -> None:
    framewise = torch.full((2, 3, 4), 0.1)
    latents = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    vector, profile, power = torch.tensor([0.0, 1.0]), torch.tensor([0.0, 0.9, 0.0]), torch.ones(6, 4)

    def measured(mask: float = 0.5, probability: float = 0.1, centre: float = 0.0, match: float = 0.0) -> list[float]:
        framewise[1, 1, 2] = probability
        heard = HeardWindows(framewise, latents)
        masks = torch.full((6, 4), mask)
        features = presence_features(
            heard, vector, profile, power, masks, torch.full((2,), centre), torch.tensor(match)
        )
        return features.tolist()

    logit, similarity, confidence, share, match = measured()
    assert match == 0 < measured(match=1.5)[4] == 1.5
    assert logit == pytest.approx(np.log(0.1 / 0.9), abs=1e-5)
    assert similarity == pytest.approx(0.8)
    assert confidence == pytest.approx(0.0, abs=1e-5)
    assert share == pytest.approx(np.log10(0.25), abs=1e-3)
    assert measured(probability=0.9)[0] == pytest.approx(np.log(9), abs=1e-5)
    assert measured(centre=0.5)[1] < similarity
    assert measured(mask=0.9)[2] > confidence
    assert measured(mask=0.9)[3] > share


def test_windows_overlap_by_half_and_the_last_ends_with_the_sound(tiny_model: Path) -> None:
    network = load_model(tiny_model, "cpu").detector
    size = network.config.window_time
    wave = torch.from_numpy(tone(6.0, RATE, 1)[:, 0].astype(np.float32))[: 2 * size + 500]
    heard = hear_windows(network, wave)
    assert heard.latents.shape == (4, 16)
    torch.testing.assert_close(heard.latents[3:], hear_windows(network, wave[-size:]).latents, atol=1e-5, rtol=1e-4)
    assert hear_windows(network, wave[:7]).framewise.shape[:2] == (1, 4)


def test_the_gate_falls_from_open_to_60_db_down() -> None:
    gains = [gain_of(presence, 0.1, 0.3) for presence in (0.0, 0.1, 0.15, 0.2, 0.3, 1.0)]
    assert gains[0] == gains[1] == pytest.approx(1e-3)
    assert gains[-2:] == [pytest.approx(1.0)] * 2
    assert gains == sorted(gains)
    assert 1e-3 < gains[2] < gains[3] < 1


def test_what_is_not_there_is_silent_and_the_residual_has_it_all(folder: Path, write_tone: WriteTone) -> None:
    path = write_tone("mix.wav", seconds=12, channels=2, sample_rate=44_100)
    separator = closed(folder)
    result = separator.separate(path, "label:Dog")
    mixture = result.target.samples + result.residual.samples
    kept = separator.separate(path, "label:Dog", keep_absent=True)
    assert result.presence == kept.presence < 0.01
    assert level_db(result.target.samples, kept.target.samples) == pytest.approx(-60, abs=0.5)
    np.testing.assert_allclose(kept.target.samples + kept.residual.samples, mixture, atol=2**-23)
    assert any("hardly found" in one and "--keep-absent" in one for one in result.report.warnings)
    assert not any("--keep-absent" in one for one in kept.report.warnings)
    assert (result.report.keep_absent, kept.report.keep_absent) == (False, True)
    assert result.report.presence_calibrated


def test_a_sound_that_comes_late_is_let_through_when_it_comes(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, write_tone: WriteTone
) -> None:
    path = write_tone("mix.wav", seconds=9)
    separator = Separator.load(tiny_model, "cpu")
    kept = separator.separate(path, "label:Dog", keep_absent=True).target.samples[0]
    scores = iter([0.001, 0.001, 0.9, 0.9, 0.9, 0.9, 0.9])
    monkeypatch.setattr("querysep.pipeline.presence.probability", lambda calibration, features: next(scores))
    late = separator.separate(path, "label:Dog")
    target = late.target.samples[0]
    assert late.presence == 0.9
    assert level_db(target[: 2 * RATE], kept[: 2 * RATE]) < -55
    np.testing.assert_allclose(target[5 * RATE :], kept[5 * RATE :], atol=1e-5)


def test_streams_are_gated_alike(folder: Path) -> None:
    separator = closed(folder)
    mixture = tone(5.0, RATE, 2).T
    whole = separator.separate(mixture, "label:Bell", sample_rate=RATE)
    for keep in (False, True):
        blocks = (mixture[:, start : start + 5_000] for start in range(0, mixture.shape[1], 5_000))
        streamed = np.concatenate(list(separator.stream(blocks, "label:Bell", RATE, keep_absent=keep)), axis=1)
        same = separator.separate(mixture, "label:Bell", sample_rate=RATE, keep_absent=True) if keep else whole
        np.testing.assert_allclose(streamed, same.target.samples, atol=1e-6)


def test_a_sound_to_keep_out_that_is_not_there_costs_nothing(
    tiny_model: Path, write_tone: WriteTone, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tone("mix.wav", seconds=2)
    separator = Separator.load(tiny_model, "cpu")
    plain = separator.separate(path, "label:Dog")
    costly = separator.separate(path, "label:Dog", not_="label:Rain")
    assert level_db(plain.target.samples - costly.target.samples, plain.target.samples) > -40
    scores = iter([0.9, 0.001] * 9)
    monkeypatch.setattr("querysep.pipeline.presence.probability", lambda calibration, features: next(scores))
    spared = separator.separate(path, "label:Dog", not_="label:Rain")
    assert level_db(plain.target.samples - spared.target.samples, plain.target.samples) < -50
    assert any("--not 'label:Rain' was hardly found" in warning for warning in spared.report.warnings)


def test_a_silent_chunk_has_no_presence_and_stays_open(tiny_model: Path) -> None:
    model = load_model(tiny_model, "cpu")
    gate = PresenceGate(model, torch.zeros(2, 16), torch.rand(2, 4))
    masks = torch.rand(2, 1, model.separator.config.n_fft // 2 + 1, 9)
    assert gate(0, torch.zeros(1, 8 * 320), masks, torch.zeros(2)).tolist() == [[1.0], [1.0]]
    assert gate.scores == [0.0, 0.0]


def test_models_without_a_calibration_of_their_own_say_so_and_silence_nothing(
    folder: Path, write_tone: WriteTone
) -> None:
    path = write_tone("mix.wav", seconds=2)
    kept = closed(folder).separate(path, "label:Dog", keep_absent=True)
    calibration = json.loads((folder / "presence.json").read_text())
    (folder / "presence.json").write_text(json.dumps(calibration | {"model_hash": "of other weights"}))
    for _ in range(2):
        separator = Separator.load(folder, "cpu")
        assert separator.model.presence is None
        result = separator.separate(path, "label:Dog")
        np.testing.assert_array_equal(result.target.samples, kept.target.samples)
        assert not result.report.presence_calibrated
        assert any("querysep calibrate" in warning for warning in result.report.warnings)
        blocks = separator.stream([tone(1, RATE, 1).T], "label:Dog", RATE)
        assert sum(block.shape[1] for block in blocks) == RATE
        (folder / "presence.json").unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [1.0]}, "want a weight for each"),
        ({"silent_below": 0.9}, "must lie below"),
        ({"bias": "loud"}, "bias"),
        ({"format": "something"}, "format"),
    ],
)
def test_a_damaged_calibration_is_told(folder: Path, change: dict[str, object], message: str) -> None:
    content = json.loads((folder / "presence.json").read_text()) | change
    (folder / "presence.json").write_text(json.dumps(content))
    with pytest.raises(WeightsError, match=message) as caught:
        load_model(folder, "cpu")
    assert "querysep calibrate" in str(caught.value)


def test_a_calibration_of_another_size_does_not_count(tiny_model: Path) -> None:
    model = load_model(tiny_model, "cpu")
    assert read_presence(tiny_model, model.hash, 16) == model.presence is not None
    assert read_presence(tiny_model, model.hash, 17) is None
    features = torch.tensor([1.0, 0.5, 0.2, -1.0, 0.0])
    assert model.presence is not None
    assert probability(model.presence, features) == pytest.approx(1 / (1 + np.exp(-(2 + 0.05 + 0.05 + 0.01 - 0.1))))
