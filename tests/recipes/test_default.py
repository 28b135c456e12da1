"""The experiments of recipes/default: every file of settings is valid, and every other network trains."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from given import given

from querysep.detection.mobile import MobileDetector
from querysep.model import load_model, load_preset
from querysep.separation.build import build_separator
from querysep.separation.config import CompactConfig
from querysep.training.config import DetectorTraining, SeparatorTraining
from querysep.training.run_folder import read_config, settings_of
from querysep.training.separator import SeparatorModule

RECIPE = Path(__file__).parents[2] / "recipes" / "default"
EXPERIMENTS = sorted((RECIPE / "experiments").glob("*.yaml"))


@pytest.fixture(scope="module")
def networks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("networks", RECIPE / "networks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["networks"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_changes_settings_that_there_are(path: Path) -> None:
    reference = settings_of(SeparatorTraining, None, {}, read_config(RECIPE / "experiments" / "reference.yaml")[1])
    changes = read_config(path)[1]
    settings = settings_of(SeparatorTraining, None, {}, reference.model_dump() | changes)
    assert path.stem == "reference" or settings != reference


def test_the_next_weights_load_and_their_settings_are_known() -> None:
    assert isinstance(load_model(RECIPE / "next" / "model", "cpu").detector, MobileDetector)
    for name, kind in (("detector", DetectorTraining), ("separator", SeparatorTraining)):
        preset, given = read_config(RECIPE / "next" / f"{name}.yaml")
        assert preset == "mobile"
        settings_of(kind, None, {}, given)


@pytest.mark.parametrize(
    "path", sorted((RECIPE / "experiments" / "presets").glob("*.yaml")), ids=lambda path: path.stem
)
def test_a_preset_loads(path: Path) -> None:
    assert load_preset(str(path)).separator.condition_dim == 256


@pytest.mark.parametrize("name", ["attention", "separable", "shift-only"])
def test_a_network_trains_and_is_another(networks: ModuleType, name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = CompactConfig(hop=512, channels=(8, 16), condition_dim=8, condition_hidden=16, presence_dim=8)
    (tmp_path / "network.txt").write_text(name)
    network, plain = networks.builder_of(tmp_path)(shape), build_separator(shape)
    assert [one.shape for one in network.parameters()] != [one.shape for one in plain.parameters()]
    batch = given(0.1 * torch.randn(2, 2, 16_384), torch.randn(2, 2, 8), torch.ones(2, 2))
    SeparatorModule(network, SeparatorTraining()).batch_loss(batch).backward()
    missing = [key for key, one in network.named_parameters() if one.grad is None and not key.startswith("presence")]
    assert not missing
    assert networks.builder_of(tmp_path / "none") is build_separator
