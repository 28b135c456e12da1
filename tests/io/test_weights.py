"""Weights folders are read strictly and written whole."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from querysep.detection.build import build_detector
from querysep.errors import DeviceError, OutputError, WeightsError
from querysep.io.weights import read_folder, write_folder
from querysep.model import load_detector, load_model, load_preset, save_detector, save_model
from querysep.separation.build import build_separator


def test_model_comes_back_as_saved(tiny_model: Path) -> None:
    model = load_model(tiny_model, "cpu")
    stored = load_file(tiny_model / "model.safetensors")
    assert model.labels == ("Dog", "Bell", "Rain", "Speech")
    assert not model.detector.training and not model.separator.training
    for name, tensor in model.detector.state_dict().items():
        assert torch.equal(tensor, stored[f"detector.{name}"])


def test_a_detector_is_the_same_in_every_folder(tiny_model: Path, tmp_path: Path) -> None:
    model, detector = load_model(tiny_model, "cpu"), load_detector(tiny_model)
    torch.manual_seed(5)
    others = build_separator(model.separator.config), build_detector(model.detector.config)
    save_detector(tmp_path / "alone", detector.network, detector.labels)
    save_model(tmp_path / "half", model.config, detector.network, others[0], "", half=True)
    assert load_detector(tmp_path / "alone").hash == load_detector(tmp_path / "half").hash
    save_model(tmp_path / "beside", model.config, detector.network, others[0], "")
    assert load_detector(tmp_path / "beside").hash == detector.hash
    save_model(tmp_path / "another", model.config, others[1], model.separator, "")
    assert load_detector(tmp_path / "another").hash != detector.hash


@pytest.mark.parametrize("change", ["missing", "extra", "misshapen"])
def test_tensors_that_do_not_fit_are_named(tiny_model: Path, tmp_path: Path, change: str) -> None:
    config, tensors, _ = read_folder(tiny_model)
    name = "separator.after_conv.bias"
    if change == "missing":
        del tensors[name]
    elif change == "extra":
        name = "separator.surplus"
        tensors[name] = torch.zeros(2)
    else:
        tensors[name] = torch.zeros(3)
    write_folder(tmp_path / "broken", config, tensors, "")
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        load_model(tmp_path / "broken", "cpu")


def test_half_precision_is_widened(tmp_path: Path) -> None:
    write_folder(tmp_path / "half", {}, {"a": torch.ones(3), "n": torch.tensor(2)}, "", half=True)
    assert load_file(tmp_path / "half" / "model.safetensors")["a"].dtype == torch.float16
    _, tensors, _ = read_folder(tmp_path / "half")
    assert tensors["a"].dtype == torch.float32 and tensors["n"].dtype == torch.int64


def test_what_float16_cannot_hold_stays_as_it_is(tmp_path: Path) -> None:
    given = {"var": torch.tensor([1.5, 222_475.0]), "weight": torch.tensor([1.5])}
    write_folder(tmp_path / "half", {}, given, "", half=True)
    assert load_file(tmp_path / "half" / "model.safetensors")["weight"].dtype == torch.float16
    _, tensors, _ = read_folder(tmp_path / "half")
    assert torch.equal(tensors["var"], given["var"])


def test_weights_that_are_not_finite_are_neither_written_nor_read(tmp_path: Path) -> None:
    write_folder(tmp_path / "model", {}, {"a": torch.ones(1)}, "")
    with pytest.raises(OutputError, match=r"1 of 2 tensors .* \('b' is the first\)"):
        write_folder(tmp_path / "other", {}, {"a": torch.ones(1), "b": torch.tensor([torch.inf])}, "")
    assert not (tmp_path / "other").exists()
    save_file({"a": torch.tensor([torch.nan])}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(WeightsError, match="not finite"):
        read_folder(tmp_path / "model")


def test_a_full_folder_is_refused_and_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "mine.txt").write_text("precious")
    with pytest.raises(OutputError, match="exists already"):
        write_folder(folder, {}, {"a": torch.ones(1)}, "")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("querysep.io.weights.save_file", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_folder(tmp_path / "other", {}, {"a": torch.ones(1)}, "")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_cut_file_says_so(tiny_model: Path, tmp_path: Path) -> None:
    config, tensors, _ = read_folder(tiny_model)
    write_folder(tmp_path / "cut", config, tensors, "")
    whole = (tmp_path / "cut" / "model.safetensors").read_bytes()
    (tmp_path / "cut" / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match="damaged or incomplete"):
        load_model(tmp_path / "cut", "cpu")
    save_file({"a": torch.ones(1)}, tmp_path / "cut" / "model.safetensors")
    (tmp_path / "cut" / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="not valid JSON"):
        load_model(tmp_path / "cut", "cpu")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(WeightsError, match="querysep models"):
        load_model("no-such-model", "cpu")
    with pytest.raises(DeviceError, match="Choose auto"):
        load_model("default", "tpu")


@pytest.mark.parametrize("name", ["paper", "default"])
def test_presets_load(name: str) -> None:
    assert load_preset(name).separator.condition_dim == load_preset(name).detector.latent_dim
