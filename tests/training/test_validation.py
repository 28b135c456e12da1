"""The validation side: the best weights are kept, and a training that gets no better stops."""

from pathlib import Path
from typing import Any

import pytest
import torch
from given import given
from synthetic_set import make_set

from querysep.data.formats.data_set import open_recordings
from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.detection.network import Detection, DetectorNetwork
from querysep.errors import ConfigError, DataError
from querysep.model import TrainedDetector, load_detector
from querysep.separation.compact import CompactUnet
from querysep.separation.config import CompactConfig
from querysep.training.config import DetectorTraining
from querysep.training.detector import DetectorModule, choose_validation, mean_average_precision, train_detector
from querysep.training.separator import validation_figures

DETECTOR = HtsatConfig(n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4)
FAST: dict[str, Any] = {"warmup_steps": 1, "workers": 0, "batch_size": 4, "precision": "float32", "checkpoint_steps": 3}


def _figures(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> dict[float, dict[str, torch.Tensor]]:
    """Let validations find ``values``; return what the averaged weights were at each."""
    seen: dict[float, dict[str, torch.Tensor]] = {}

    def validate(module: DetectorModule) -> dict[str, float]:
        value = values[len(seen)]
        seen[value] = {name: weight.clone() for name, weight in module.average.state_dict().items()}
        return {"validation_map": value}

    monkeypatch.setattr(DetectorModule, "validate", validate)
    return seen


def _stored(weight: torch.Tensor) -> torch.Tensor:
    """Weights are stored in float16."""
    return weight.half().float() if weight.is_floating_point() else weight


def _train(folder: Path, run: Path, **settings: Any) -> DetectorNetwork:
    bank = open_recordings(folder / "manifest.jsonl", DETECTOR.sample_rate)
    training = DetectorTraining(validation_steps=2, **FAST, **settings)
    return load_detector(train_detector(bank, DETECTOR, training, run)).network


def test_the_best_weights_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_set(tmp_path)
    seen = _figures(monkeypatch, [0.2, 0.6, 0.4])
    network = _train(tmp_path, tmp_path / "run", steps=6)
    assert set(seen) == {0.2, 0.6, 0.4}
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(weight, _stored(seen[0.6][name]))


def test_a_figure_that_is_no_number_stops_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_set(tmp_path)
    _figures(monkeypatch, [float("nan"), 0.6, 0.4])
    with pytest.raises(DataError, match="At step 2 the figure validation_map became nan"):
        _train(tmp_path, tmp_path / "run", steps=6)


def test_the_last_weights_are_validated_when_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_set(tmp_path)
    monkeypatch.setattr(DetectorModule, "elapsed_s", property(lambda module: 60.0 * module.global_step))
    seen = _figures(monkeypatch, [0.5, 0.6])
    network = _train(tmp_path, tmp_path / "run", steps=100, minutes=3.0)
    assert set(seen) == {0.5, 0.6}  # after step 2 and after the last, step 3
    for name, weight in network.state_dict().items():
        torch.testing.assert_close(weight, _stored(seen[0.6][name]))


def test_a_training_that_gets_no_better_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_set(tmp_path)
    seen = _figures(monkeypatch, [0.5, 0.4, 0.3, 0.2, 0.1])
    _train(tmp_path, tmp_path / "run", steps=10, patience=2)
    assert set(seen) == {0.5, 0.4, 0.3}


def test_the_precision_is_high_for_a_detector_that_knows(tmp_path: Path) -> None:
    bank = open_recordings(make_set(tmp_path, validation=3), DETECTOR.sample_rate)
    labels = ("Clicks", "High tone", "Low tone", "Sound")
    clips = choose_validation(bank, labels, 2.0)
    assert clips is not None
    present = clips.present
    assert clips.waves.shape == (9, 64_000)
    assert clips.present.sum(dim=0).tolist() == [3, 3, 3, 6]

    class Knowing(Htsat):
        """Gives the labels, or their opposite."""

        def forward(self, wave: torch.Tensor) -> Detection:
            detection = super().forward(wave)
            return Detection(sign * 9.0 * (present - 0.5), detection.framewise, detection.latent)

    network = Knowing(DETECTOR.model_copy(update={"classes": 4})).eval()
    sign = 1.0
    assert mean_average_precision(network, clips) == pytest.approx(1.0)
    sign = -1.0
    assert mean_average_precision(network, clips) < 0.5


def test_a_detector_begins_from_other_weights_by_the_names_of_its_classes(tmp_path: Path) -> None:
    bank = open_recordings(make_set(tmp_path), DETECTOR.sample_rate)
    theirs = Htsat(DETECTOR.model_copy(update={"classes": 3}))
    theirs.load_state_dict({name: _stored(weight) for name, weight in theirs.state_dict().items()})
    start = TrainedDetector(theirs, ("Sound", "Whale", "Clicks"))
    still = DetectorTraining(**FAST, steps=1, learning_rate=1e-12, teacher_weight=0)
    ours = load_detector(train_detector(bank, DETECTOR, still, tmp_path / "run", start))
    weights, before = ours.network.state_dict(), theirs.state_dict()
    torch.testing.assert_close(weights["layers.0.blocks.0.mlp.fc1.weight"], before["layers.0.blocks.0.mlp.fc1.weight"])
    for ours_id, theirs_id in ((ours.labels.index("Sound"), 0), (ours.labels.index("Clicks"), 2)):
        torch.testing.assert_close(weights["tscam_conv.weight"][ours_id], before["tscam_conv.weight"][theirs_id])
    with pytest.raises(ConfigError, match="another shape"):
        train_detector(bank, DETECTOR.model_copy(update={"depths": (1, 2)}), still, tmp_path / "other", start)


def test_a_head_alone_learns_the_new_classes_and_keeps_the_rest(tmp_path: Path) -> None:
    bank = open_recordings(make_set(tmp_path), DETECTOR.sample_rate)
    torch.manual_seed(0)
    theirs = Htsat(DETECTOR.model_copy(update={"classes": 2})).eval()
    theirs.load_state_dict({name: _stored(weight) for name, weight in theirs.state_dict().items()})
    start = TrainedDetector(theirs, ("Whale", "Clicks"))
    training = DetectorTraining(**FAST, steps=3, head_only=True, learning_rate=0.1)
    ours = load_detector(train_detector(bank, DETECTOR, training, tmp_path / "run", start))
    assert ours.labels == ("Clicks", "High tone", "Low tone", "Sound", "Whale")
    wave = torch.randn(2, 32_000) * 0.1
    with torch.no_grad():
        one, other = ours.network(wave), theirs(wave)
    torch.testing.assert_close(one.latent, other.latent, rtol=0, atol=0)
    torch.testing.assert_close(one.clipwise_logits[:, 4], other.clipwise_logits[:, 0])
    assert (one.clipwise_logits[:, 0] - other.clipwise_logits[:, 1]).abs().min() > 1e-3  # labelled, so it learnt
    with pytest.raises(ConfigError, match="--from"):
        train_detector(bank, DETECTOR, training, tmp_path / "other")


def test_the_improvement_is_that_of_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A separator that halves the mixture: at equal energies, 10 log10(1 / (1/4 + 1/4)) = 3.01 dB."""
    generator = torch.Generator().manual_seed(0)
    tones = torch.sin(torch.arange(64_000) * torch.tensor([[0.05], [0.4], [1.1]]))
    segments = torch.stack([tones[[first, second]] for first, second in ((0, 1), (1, 2), (2, 0))])
    mixtures = given(segments, torch.rand(3, 2, 4, generator=generator), torch.ones(3, 2))
    network = CompactUnet(CompactConfig(channels=(8, 16), condition_dim=4)).eval()
    monkeypatch.setattr(CompactUnet, "forward", lambda self, mixture, condition: 0.5 * mixture)
    assert validation_figures(network, [mixtures])["validation_sdri_db"] == pytest.approx(3.01, abs=0.02)
    monkeypatch.setattr(CompactUnet, "forward", lambda self, mixture, condition: mixture)
    assert validation_figures(network, [mixtures])["validation_sdri_db"] == pytest.approx(0.0, abs=1e-4)
