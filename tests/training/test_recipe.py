"""The whole road on a small set: detector, anchors, separator, model, evaluation; interrupted and resumed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic_set import make_set

from querysep.anchors.choice import MiningSettings
from querysep.anchors.mine import mine
from querysep.anchors.miner import Miner
from querysep.anchors.relations import Relations
from querysep.data.formats.data_set import open_recordings
from querysep.detection.build import build_detector
from querysep.detection.config import HtsatConfig
from querysep.errors import DataError
from querysep.model import TrainedDetector, load_detector, load_model, save_detector
from querysep.separation.config import CompactConfig
from querysep.training.config import DetectorTraining, SeparatorTraining
from querysep.training.detector import train_detector
from querysep.training.separator import Provenance, train_separator

DETECTOR = HtsatConfig(n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4)
SEPARATOR = CompactConfig(channels=(8, 16), condition_dim=16, condition_hidden=16, presence_dim=8)
ABOUT = Provenance("tiny", "CC0", "synthetic clips")
FAST: dict[str, Any] = {"warmup_steps": 2, "checkpoint_steps": 3, "workers": 0, "batch_size": 4, "precision": "float32"}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def detector(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedDetector:
    run = tmp_path_factory.mktemp("run")
    return load_detector(
        train_detector(
            open_recordings(manifest, DETECTOR.sample_rate), DETECTOR, DetectorTraining(steps=6, **FAST), run
        )
    )


def _mine(manifest: Path, detector: TrainedDetector, folder: Path) -> None:
    bank = open_recordings(manifest, DETECTOR.sample_rate, split="train")
    relations = Relations(clip.labels for clip in bank.clips)
    mine(bank, Miner(detector.network, detector.labels, relations, MiningSettings()), detector.hash, folder)


@pytest.fixture(scope="module")
def catalog(manifest: Path, detector: TrainedDetector, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("anchors")
    _mine(manifest, detector, folder)
    return folder


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(
    catalog: Path, detector: TrainedDetector, tmp_path: Path
) -> None:
    training = SeparatorTraining(steps=7, scene_share=0.5, scene_s=4.0, band_limit_share=0.3, **FAST)

    def stop(done: float, total: float | None, what: str) -> None:
        if done == 5:
            raise InterruptedError

    straight = train_separator(catalog, detector, SEPARATOR, training, tmp_path / "straight", ABOUT)
    with pytest.raises(InterruptedError):
        train_separator(catalog, detector, SEPARATOR, training, tmp_path / "resumed", ABOUT, stop)
    assert (tmp_path / "resumed" / "last.ckpt").is_file()
    resumed = train_separator(catalog, detector, SEPARATOR, training, tmp_path / "resumed", ABOUT)
    one, other = load_model(straight, "cpu"), load_model(resumed, "cpu")
    for (name, first), second in zip(
        one.separator.state_dict().items(), other.separator.state_dict().values(), strict=True
    ):
        np.testing.assert_array_equal(first.numpy(), second.numpy(), err_msg=name)


def test_of_several_processes_the_first_writes_the_model(
    catalog: Path, detector: TrainedDetector, tmp_path: Path
) -> None:
    save_detector(tmp_path / "detector", detector.network, detector.labels)
    shapes = {"detector": DETECTOR.model_dump(mode="json"), "separator": SEPARATOR.model_dump(mode="json")}
    (tmp_path / "tiny.yaml").write_text(json.dumps(shapes))  # which is YAML
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "querysep", "train", "separator", "--data", str(catalog), "--preset", "tiny.yaml"]
    command += ["--detector", "detector", "-o", "out", *(f"--set={key}={value}" for key, value in FAST.items())]
    done = subprocess.run(
        [*command, "--set=steps=2"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines().count("out/model") == 1
    assert load_model(tmp_path / "out" / "model", "cpu").separator.config == SEPARATOR


def test_another_detectors_catalog_is_refused(catalog: Path, detector: TrainedDetector, tmp_path: Path) -> None:
    torch.manual_seed(99)
    other = TrainedDetector(build_detector(detector.network.config).eval(), detector.labels)
    with pytest.raises(DataError, match="mined by another detector"):
        train_separator(catalog, other, SEPARATOR, SeparatorTraining(steps=1, **FAST), tmp_path, ABOUT)


def test_the_example_of_docs_training_trains(
    catalog: Path, detector: TrainedDetector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    tiny = {'load_preset("default").separator': "SEPARATOR", "SeparatorTraining(minutes=30)": "TRAINING"}
    for text, name in tiny.items():
        assert text in example
        example = example.replace(text, name)
    monkeypatch.chdir(tmp_path)
    save_detector(tmp_path / "detector" / "detector", detector.network, detector.labels)
    (tmp_path / "store").symlink_to(catalog)
    training = SeparatorTraining(steps=2, **FAST)
    exec(compile(example, "training.md", "exec"), {"SEPARATOR": SEPARATOR, "TRAINING": training})
    assert load_model(tmp_path / "sparse" / "model", "cpu").config.name == "sparse"
