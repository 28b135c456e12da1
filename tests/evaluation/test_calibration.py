"""Fitting the presence calibration: the logistic model, the limit of the gate, and mixtures with absent sounds."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from synthetic_set import RATE, make_set

from querysep.data.formats.data_set import OpenedRecordings, open_recordings
from querysep.data.manifest import Clip, read_manifest
from querysep.errors import DataError
from querysep.evaluation.calibration import PresenceMixtures, auc, fit_presence, logistic
from querysep.evaluation.metrics.classification import calibration_error
from querysep.model import load_model


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> OpenedRecordings:
    folder = tmp_path_factory.mktemp("set")
    make_set(folder, train=3, validation=3, test=0)
    return open_recordings(folder, RATE)


def test_the_logistic_model_finds_the_weights_that_made_the_answers() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal([3.0, -10.0], [1.0, 20.0], (20_000, 2))
    truth = 1.0 / (1.0 + np.exp(-(features @ np.array([2.0, -0.1]) - 7.0)))
    present = rng.random(20_000) < truth
    weights, bias = logistic(features, present)
    np.testing.assert_allclose(weights, [2.0, -0.1], rtol=0.1)
    assert bias == pytest.approx(-7.0, rel=0.1)
    scores = 1.0 / (1.0 + np.exp(-(features @ weights + bias)))
    assert calibration_error(scores[present], scores[~present]) < 0.01
    assert calibration_error(scores[present] ** 3, scores[~present] ** 3) > 0.05


def test_auc_counts_pairs_and_halves_ties() -> None:
    present = np.array([True, True, False, False])
    assert auc(present, np.array([0.9, 0.4, 0.5, 0.1])) == 0.75
    assert auc(present, np.array([0.5, 0.5, 0.5, 0.5])) == 0.5


def test_absent_sounds_are_not_in_the_mixture(recordings: OpenedRecordings) -> None:
    drawn = list(PresenceMixtures(recordings, "validation", ("Clicks",), seed=1).draw(30))
    again = list(PresenceMixtures(recordings, "validation", ("Clicks",), seed=1).draw(30))
    kinds = set()
    for mixture, same in zip(drawn, again, strict=True):
        np.testing.assert_array_equal(mixture.wave, same.wave)
        there = [trial for trial in mixture.trials if trial.wave is not None]
        summed = np.sum([trial.wave for trial in mixture.trials if trial.wave is not None], axis=0)
        away = [trial for trial in mixture.trials if trial.wave is None]
        np.testing.assert_allclose(summed, mixture.wave, atol=1e-6)
        assert not {trial.label for trial in there} & {trial.label for trial in away}
        assert 2 * RATE <= len(mixture.wave) <= 8 * RATE
        assert np.abs(mixture.wave).max() <= 0.9001
        kinds |= {(trial.query.kind, trial.wave is None) for trial in mixture.trials}
    assert kinds == {("audio", True), ("audio", False), ("label", True), ("label", False)}


class Noises:
    """Two clips of each class; the labels above a class are not told."""

    sample_rate = 1_000
    clips = tuple(
        Clip(
            path=f"{label}-{number}",
            labels=(label,),
            duration_s=3.0,
            licence="CC0",
            source="synthetic",
            origin=f"{label}-{number}",
            split="test",
        )
        for label in ("Drum", "Snare drum", "Dog", "Animal", "Rain")
        for number in range(2)
    )

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        return np.random.default_rng(index).integers(-9_000, 9_000, count or 3_000).astype(np.int16)


def test_neither_a_parent_nor_a_kind_of_what_is_there_is_absent() -> None:
    pairs = set()
    for mixture in PresenceMixtures(Noises(), "test", seed=2).draw(60):
        there = [trial.label for trial in mixture.trials if trial.wave is not None]
        away = [trial.label for trial in mixture.trials if trial.wave is None]
        pairs |= {(one, other) for one in there for other in (*away, *there) if one != other}
    for one, other in (("Drum", "Snare drum"), ("Dog", "Animal")):
        assert not pairs & {(one, other), (other, one)}
        assert (one, "Rain") in pairs


def test_a_fit_is_for_these_weights_and_always_the_same(recordings: OpenedRecordings, tiny_model: Path) -> None:
    model = load_model(tiny_model, "cpu")
    one, two = (fit_presence(model, recordings, 8, 0) for _ in range(2))
    assert one == two
    assert one.calibration.model_hash == model.hash
    assert "validation" in one.calibration.fitted_on
    assert one.lost_db <= 0.05
    assert 0.5 <= one.auc <= 1.0


def test_too_small_a_set_is_told(tmp_path: Path) -> None:
    make_set(tmp_path, train=1, test=1)
    assert len(read_manifest(tmp_path / "manifest.jsonl")) == 7
    with pytest.raises(DataError, match="0 classes with two recordings"):
        PresenceMixtures(open_recordings(tmp_path, RATE), "train")
