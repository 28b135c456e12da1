"""Training from the command line: what a user can get wrong, and the whole road once."""

from pathlib import Path

import pytest
from cli.running import Querysep
from synthetic_set import make_set


def test_a_misspelt_setting_is_named(querysep: Querysep, tmp_path: Path) -> None:
    command = ("train", "detector", "--data", tmp_path, "-o", tmp_path / "run", "--set")
    querysep(*command, "learning_rat=0.1").assert_refused(r"learning_rat.*Known settings:.*learning_rate")
    querysep(*command, "steps=many").assert_refused(r"steps")
    querysep(*command, "steps").assert_refused(r"key=value")
    querysep(*command, "steps=[").assert_refused(r"cannot be read")


def test_missing_data_is_told(querysep: Querysep, tmp_path: Path, tiny_model: Path) -> None:
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
    querysep(*command, "huge").assert_refused(r"default, paper")


def test_a_preset_of_ones_own_is_checked(querysep: Querysep, tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    command = ("train", "detector", "--data", tmp_path, "-o", tmp_path / "run", "--preset", preset)
    preset.write_text("detector: {embed_dim: 8, depth: 2}\nseparator: {}\n")
    querysep(*command).assert_refused(r"depth")
    preset.write_text("detector: [")
    querysep(*command).assert_refused(r"not valid YAML")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*LeafSpec.*")
def test_from_clips_to_a_model_that_separates(querysep: Querysep, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    make_set(data)
    preset = tmp_path / "small.yaml"
    preset.write_text(
        "detector: {n_mels: 16, image_size: 64, embed_dim: 8, depths: [1, 1], heads: [1, 2], window_size: 4}\n"
        "separator: {channels: [8, 16], condition_dim: 16, condition_hidden: 16}\n"
    )
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
