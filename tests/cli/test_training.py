"""Training from the command line: what a user can get wrong, and the whole road once."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cli.running import Querysep
from recordings import WriteTone
from synthetic_set import make_set

from querysep.model import load_model

SMALL = (
    "detector: {n_mels: 16, image_size: 64, embed_dim: 8, depths: [1, 1], heads: [1, 2], window_size: 4}\n"
    "separator: {architecture: compact, channels: [8, 16], condition_dim: 16, condition_hidden: 16}\n"
)


def test_a_misspelt_setting_is_named(querysep: Querysep, tmp_path: Path) -> None:
    command = ("train", "detector", "--data", tmp_path, "-o", tmp_path / "run", "--set")
    querysep(*command, "learning_rat=0.1").assert_refused(r"learning_rat.*Known settings:.*learning_rate")
    querysep(*command, "steps=many").assert_refused(r"steps")
    querysep(*command, "steps").assert_refused(r"key=value")
    querysep(*command, "steps=[").assert_refused(r"cannot be read")


def test_missing_data_is_refused(querysep: Querysep, tmp_path: Path, tiny_model: Path) -> None:
    querysep("train", "detector", "--data", tmp_path, "-o", tmp_path / "run").assert_refused("no data set that we know")
    querysep("mine", "--data", tmp_path, "--detector", tiny_model, "-o", tmp_path / "a").assert_refused(
        r"no data set that we know"
    )
    querysep("mine", "--data", tmp_path, "--detector", tmp_path / "none", "-o", tmp_path / "a").assert_refused(r"none")
    querysep("evaluate", "open", "--data", tmp_path, "--model", tiny_model, "-o", tmp_path / "r").assert_refused(
        "no data set that we know"
    )
    querysep(
        "train", "separator", "--anchors", tmp_path, "--detector", tiny_model, "-o", tmp_path / "r"
    ).assert_refused(r"querysep mine")


def test_an_unknown_preset_names_the_known_ones(querysep: Querysep, tmp_path: Path) -> None:
    command = ("train", "detector", "--data", tmp_path, "-o", tmp_path / "run", "--preset")
    querysep(*command, "huge").assert_refused(r"default, mobile, paper")


def test_a_preset_of_ones_own_is_checked(querysep: Querysep, tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    command = ("train", "detector", "--data", tmp_path, "-o", tmp_path / "run", "--preset", preset)
    preset.write_text("detector: {embed_dim: 8, depth: 2}\nseparator: {}\n")
    querysep(*command).assert_refused(r"depth")
    preset.write_text("detector: [")
    querysep(*command).assert_refused(r"not valid YAML")


def test_from_clips_to_a_model_that_separates(querysep: Querysep, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    make_set(data)
    preset = tmp_path / "small.yaml"
    preset.write_text(SMALL)
    fast = ("--preset", preset, "--set", "steps=2", "--set", "workers=0", "--set", "batch_size=2")
    assert querysep("train", "detector", "--data", data, "-o", tmp_path / "d", *fast).code == 0
    detector = ("--detector", tmp_path / "d" / "detector")
    assert querysep("mine", "--data", data, *detector, "-o", tmp_path / "a").code == 0
    ended = querysep("train", "separator", "--anchors", tmp_path / "a", *detector, "-o", tmp_path / "s", *fast)
    assert ended.stdout.splitlines()[-1] == str(tmp_path / "s" / "model")
    model = ("--model", tmp_path / "s" / "model")
    ended = querysep("evaluate", "open", "--data", data, "-o", tmp_path / "r", "--mixtures", "1", *model)
    assert ended.code == 0
    assert (tmp_path / "r" / "table.md").read_text() in ended.stdout
    clips = sorted(data.glob("test-*.flac"))
    assert querysep("separate", clips[0], "-q", clips[1], "-o", tmp_path, *model).code == 0


def test_lightning_does_not_speak_to_the_user(tmp_path: Path) -> None:
    make_set(tmp_path)
    preset = tmp_path / "small.yaml"
    preset.write_text(SMALL)
    command = [sys.executable, "-m", "querysep", "train", "detector", "--data", tmp_path, "-o", tmp_path / "run"]
    fast = ("--preset", preset, "--set", "steps=2", "--set", "workers=0", "--set", "batch_size=2")
    ended = subprocess.run([*map(str, [*command, *fast])], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_model_learns_the_classes_of_a_folder(querysep: Querysep, tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "set").mkdir()
    make_set(tmp_path / "set")
    for clip in sorted((tmp_path / "set").glob("train-*.flac")):
        place = tmp_path / "sounds" / clip.stem.split("-", 1)[1].rsplit("-", 1)[0] / clip.name
        place.parent.mkdir(parents=True, exist_ok=True)
        clip.rename(place)
    command = ("train", "finetune", "--data", tmp_path / "sounds", "-o", tmp_path / "run", "--from", tiny_model)
    ended = querysep(*command, "--minutes", "0.02", "--name", "mine")
    assert ended.code == 0, ended.stderr
    model = load_model(tmp_path / "run" / "separator" / "model", "cpu")
    assert model.name == "mine"
    assert set(model.labels) == {"Dog", "Bell", "Rain", "Speech", "Low-tone", "High-tone", "Clicks"}
    assert model.label_bank is not None
    assert {row.label for row in model.label_bank.rows} == set(model.labels)
    before = load_model(tiny_model, "cpu")
    assert model.presence is not None and before.presence is not None
    assert model.presence.weights == before.presence.weights
    torch.testing.assert_close(
        model.detector.get_parameter("norm.weight"), before.detector.get_parameter("norm.weight"), atol=1e-3, rtol=1e-3
    )
    again = querysep(*command)
    assert (again.code, again.new_files) == (0, ()) and "This run is finished" in again.stderr
    step = torch.load(tmp_path / "run" / "separator" / "last.ckpt", weights_only=True)["global_step"]
    assert querysep(*command, "--minutes", "100", "--set", f"steps={step + 1}", "--quiet").code == 0
    assert torch.load(tmp_path / "run" / "separator" / "last.ckpt", weights_only=True)["global_step"] == step + 1
    assert load_model(tmp_path / "run" / "separator" / "model", "cpu").presence is not None
    one = next((tmp_path / "sounds" / "Clicks").iterdir())
    asked = querysep("separate", one, "-q", "label:Clicks", "-o", tmp_path, "--model", tmp_path / "run/separator/model")
    assert asked.code == 0


def test_a_folder_with_a_thin_class_is_refused(querysep: Querysep, tmp_path: Path, write_tone: WriteTone) -> None:
    for name in ("sounds/dog/1.wav", "sounds/dog/2.wav", "sounds/bell/1.wav"):
        write_tone(name)
    querysep("train", "finetune", "--data", tmp_path / "sounds", "-o", tmp_path / "run", "--quiet").assert_refused(
        "single clip: 'bell'.*add clips"
    )


def test_a_class_of_two_clips_one_of_them_silent_is_refused_before_training(
    querysep: Querysep, tmp_path: Path, write_tone: WriteTone, tiny_model: Path
) -> None:
    for name in ("sounds/dog/1.wav", "sounds/dog/2.wav", "sounds/bell/1.wav"):
        write_tone(name)
    soundfile.write(tmp_path / "sounds" / "bell" / "2.wav", np.zeros(32_000), 32_000)
    querysep(
        "train", "finetune", "--data", tmp_path / "sounds", "-o", tmp_path / "run", "--from", tiny_model, "--quiet"
    ).assert_refused("'bell' has 2 clips, and fewer than two.*add clips")


def test_finetuning_is_one_process(
    querysep: Querysep, tmp_path: Path, write_tone: WriteTone, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dog/1.wav", "dog/2.wav", "bell/1.wav", "bell/2.wav"):
        write_tone(f"sounds/{name}")
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    command = (
        "train",
        "finetune",
        "--data",
        tmp_path / "sounds",
        "-o",
        tmp_path / "run",
        "--from",
        tiny_model,
        "--quiet",
    )
    querysep(*command).assert_refused("one process.*without torchrun")
