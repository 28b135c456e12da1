"""Checkpoints in the authors' layout go in; their published outputs come out of `separate`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from published import TOLERANCE, checkpoint, expected, given
from torch import Tensor

from querysep.cli.main import run
from querysep.detection.build import build_detector
from querysep.detection.config import HtsatConfig
from querysep.errors import WeightsError
from querysep.importing import import_official
from querysep.model import ModelShape
from querysep.separation.build import build_separator
from querysep.separation.config import PaperConfig

SMALL = ModelShape(
    detector=HtsatConfig(n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, classes=4),
    separator=PaperConfig(channels=(4, 8), condition_dim=16),
)


def test_a_checkpoint_by_the_recipe_separates_as_published(tmp_path: Path) -> None:
    detector = checkpoint("sed")
    torch.save({"state_dict": detector}, tmp_path / "sed.ckpt")
    separator = checkpoint("separator")
    separator["istft.reverse"] = torch.zeros(1)
    del separator["istft.ola_window"]
    torch.save({"state_dict": separator, "epoch": 3}, tmp_path / "separator.ckpt")
    del detector, separator
    model = tmp_path / "model"
    paths = [str(tmp_path / "sed.ckpt"), str(tmp_path / "separator.ckpt")]
    assert run(["import-official", "--detector", paths[0], "--separator", paths[1], "-o", str(model)]) == 0
    for path in paths:
        Path(path).unlink()
    soundfile.write(tmp_path / "mixture.wav", given("sep_mix_2s")[0], 32_000, subtype="FLOAT")
    soundfile.write(tmp_path / "query.wav", given("sed_2s")[0], 32_000, subtype="FLOAT")
    command = ["separate", str(tmp_path / "mixture.wav"), "-q", str(tmp_path / "query.wav")]
    assert run([*command, "--model", str(model), "-o", str(tmp_path), "--device", "cpu"]) == 0
    target, rate = soundfile.read(tmp_path / "mixture.target.wav", dtype="float32")
    assert rate == 32_000
    wanted = np.asarray(expected("sep_a_wav"), dtype=np.float64)
    assert target.shape == wanted.shape
    # of the ends, too, where fewer windows overlap
    error = np.abs(_above_100_hz(target - wanted)[2048:-2048]).max() / np.abs(wanted).max()
    assert error <= TOLERANCE, f"relative error {error:.2e}"


def _above_100_hz(wave: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out the lowest bins, which the pipeline keeps in the residual, and what their window touches."""
    spectrum = np.fft.rfft(wave)
    spectrum[np.fft.rfftfreq(len(wave), 1 / 32_000) < 100.0] = 0.0
    return np.fft.irfft(spectrum, len(wave))


def _official_names(part: str) -> dict[str, Tensor]:
    """A small checkpoint of random weights under the authors' names."""
    if part == "sed":
        return {f"sed_model.{name}": value for name, value in build_detector(SMALL.detector).state_dict().items()}
    state = build_separator(SMALL.separator).state_dict()
    return {_official_name(name): value for name, value in state.items()}


def _official_name(ours: str) -> str:
    head, _, rest = ours.partition(".")
    number, _, tail = rest.partition(".")
    match head:
        case "encoder":
            return f"encoder_block{int(number) + 1}.conv_block.{tail}"
        case "decoder":
            return f"decoder_block{int(number) + 1}.{tail}"
        case "bottom":
            return f"conv_block7.{rest}"
        case "after_block":
            return f"after_conv_block1.{rest}"
        case "after_conv":
            return f"after_conv2.{rest}"
        case _:
            return ours


def _import(tmp_path: Path, detector: dict[str, Any] | None, separator: dict[str, Any]) -> Path:
    for name, state in (("sed", detector), ("separator", separator)):
        if state is not None:
            torch.save({"state_dict": state}, tmp_path / f"{name}.ckpt")
    report = import_official(
        tmp_path / "sed.ckpt" if detector is not None else None,
        tmp_path / "separator.ckpt",
        tmp_path / "model",
        shape=SMALL,
    )
    assert report.folder == tmp_path / "model"
    return report.detector_from


def test_the_separators_own_detector_wins(tmp_path: Path) -> None:
    separator = _official_names("separator")
    separator |= {f"at_model.{name}": value for name, value in _official_names("sed").items()}
    assert _import(tmp_path, _official_names("sed"), separator).name == "separator.ckpt"


def test_integers_stored_as_floats_are_taken(tmp_path: Path) -> None:
    detector = _official_names("sed")
    detector["sed_model.bn0.num_batches_tracked"] = torch.tensor(7.0)
    assert _import(tmp_path, detector, _official_names("separator")).name == "sed.ckpt"


def _drop(state: dict[str, Tensor]) -> None:
    del state["decoder_block1.bn1.weight"], state["after_conv2.bias"]


def _reshape(state: dict[str, Tensor]) -> None:
    state["decoder_block1.bn1.weight"] = torch.zeros(5)


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (_drop, r"2 missing: decoder\.0\.bn1\.weight, after_conv\.bias"),
        (_reshape, r"decoder\.0\.bn1\.weight \(got \(5,\)"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: Callable[[dict[str, Tensor]], None], pattern: str) -> None:
    separator = _official_names("separator")
    change(separator)
    with pytest.raises(WeightsError, match=pattern):
        _import(tmp_path, _official_names("sed"), separator)
    assert not (tmp_path / "model").exists()


class _Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}, "callbacks": _Harmful()}, tmp_path / "separator.ckpt")
    with pytest.raises(WeightsError, match="without running code"):
        import_official(None, tmp_path / "separator.ckpt", tmp_path / "model", shape=SMALL)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "separator.ckpt").write_bytes(content)
    with pytest.raises(WeightsError, match="not a checkpoint"):
        import_official(None, tmp_path / "separator.ckpt", tmp_path / "model", shape=SMALL)
