"""Runs from the command line: gone on with, changed, extended, stopped, fed to the next one."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from cli.running import Outcome, Querysep
from recordings import WriteTone
from synthetic_set import make_set

from querysep.cli.main import run
from querysep.io.weights import content_hash

SMALL = (
    "detector: {n_mels: 16, image_size: 64, embed_dim: 8, depths: [1, 1], heads: [1, 2], window_size: 4}\n"
    "separator: {architecture: compact, channels: [8, 16], condition_dim: 16, condition_hidden: 16}\n"
)
FAST = ("--set=workers=0", "--set=batch_size=2", "--set=precision=float32", "--set=warmup_steps=1")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a small preset, a detector hardly trained, and its anchors."""
    folder = tmp_path_factory.mktemp("ground")
    (folder / "data").mkdir()
    make_set(folder / "data")
    (folder / "small.yaml").write_text(SMALL)
    detector = ("--detector", folder / "run" / "detector")
    for words in (
        ("train", "detector", "--preset", folder / "small.yaml", "-o", folder / "run", *FAST, "--set=steps=2"),
        ("mine", *detector, "-o", folder / "anchors"),
    ):
        assert run([str(word) for word in (*words, "--data", folder / "data", "--quiet")]) == 0
    return folder


@pytest.fixture
def train(querysep: Querysep, ground: Path, tmp_path: Path) -> Querysep:
    """Train a separator into the folder "run", unless -o names another."""

    def command(*more: object) -> Outcome:
        place = () if "-o" in more else ("-o", tmp_path / "run")
        where = (
            "--data",
            ground / "anchors",
            "--detector",
            ground / "run" / "detector",
            "--preset",
            ground / "small.yaml",
        )
        return querysep("train", "separator", *where, *place, *FAST, *more)

    return command


def _step(folder: Path) -> int:
    return int(torch.load(folder / "last.ckpt", weights_only=True)["global_step"])


def test_a_run_knows_itself_and_is_fed_to_the_next(train: Querysep, ground: Path, tmp_path: Path) -> None:
    assert train("--set=steps=1", "--set=seed=4").code == 0
    record = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert record["settings"]["seed"] == 4 and record["settings"]["gain_db"] == 3.0
    assert record["preset"] == str(ground / "small.yaml") and record["data"]["location"] == str(ground / "anchors")
    assert record["network"]["channels"] == [8, 16] and record["finished_step"] == 1
    config = ("--config", tmp_path / "run" / "run.yaml", "--set=batch_size=3")
    assert train("-o", tmp_path / "next", *config).code == 0
    fed = yaml.safe_load((tmp_path / "next" / "run.yaml").read_text())["settings"]
    assert fed == {**record["settings"], "batch_size": 3}
    for name, settings in (("one", "{gain_db: 1.0, seed: 6}"), ("two", "{gain_db: 2.0}")):
        (tmp_path / f"{name}.yaml").write_text(f"settings: {settings}\n")
    both = ("--config", tmp_path / "one.yaml", "--config", tmp_path / "two.yaml", "--set=steps=1")
    assert train("-o", tmp_path / "layered", *both).code == 0
    layered = yaml.safe_load((tmp_path / "layered" / "run.yaml").read_text())["settings"]
    assert (layered["gain_db"], layered["seed"]) == (2.0, 6)
    (tmp_path / "own.yaml").write_text("settings: {learning_rat: 0.1}\n")
    refused = train("-o", tmp_path / "third", "--config", tmp_path / "own.yaml")
    refused.assert_refused("'learning_rat' is not a known setting. Closest: 'learning_rate'")


def test_other_settings_are_refused_by_name_and_value_unless_they_are_wanted(
    train: Querysep, querysep: Querysep, ground: Path, tmp_path: Path
) -> None:
    assert train("--set=steps=2", "--set=checkpoint_steps=1").code == 0
    before = content_hash(tmp_path / "run" / "model")
    other = ("--set=steps=4", "--set=optimizer=adamw", "--set=learning_rate=0.0001")
    train(*other).assert_refused(r"optimizer was muon, now adamw.*--change|learning_rate was 0.005, now 0.0001")
    train("--set=steps=4", "--set=batch_size=4").assert_refused("batch_size was 2, now 4")
    assert content_hash(tmp_path / "run" / "model") == before
    ended = train(*other, "--change")
    assert ended.code == 0, ended.stderr
    checkpoint = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    assert all("orthogonal" not in group and group["initial_lr"] == 1e-4 for group in groups)
    history = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["history"]
    assert history[-1]["changed"]["optimizer"] == ["muon", "adamw"]


def test_other_data_detectors_and_networks_are_refused(
    train: Querysep, querysep: Querysep, ground: Path, tmp_path: Path
) -> None:
    assert train("--set=steps=1").code == 0
    (tmp_path / "wide.yaml").write_text(SMALL.replace("[8, 16]", "[8, 32]"))
    train("--preset", tmp_path / "wide.yaml", "--change").assert_refused(r"another one: network was .*\[8, 16\].*32")
    words = (
        "mine",
        "--data",
        ground / "data",
        "--detector",
        ground / "run" / "detector",
        "--per-clip",
        "1",
        "-o",
        tmp_path / "few",
    )
    assert querysep(*words).code == 0
    train("--data", tmp_path / "few").assert_refused(r"data was \w{16}, now \w{16}")
    detector = ("train", "detector", "--data", ground / "data", "--preset", ground / "small.yaml", *FAST)
    querysep(*detector, "-o", tmp_path / "run", "--set=steps=1").assert_refused("is one of `querysep train separator`")


def test_a_finished_run_is_extended_and_says_when_there_is_nothing_to_do(
    train: Querysep, querysep: Querysep, tmp_path: Path
) -> None:
    assert train("--set=steps=2").code == 0
    first = content_hash(tmp_path / "run" / "model")
    again = train()
    assert (again.code, again.new_files) == (0, ()) and "finished, after step 2" in again.stderr
    assert content_hash(tmp_path / "run" / "model") == first
    longer = querysep("train", "separator", "-o", tmp_path / "run", "--set=steps=3", "--set=minutes=100")
    assert longer.code == 0 and longer.stdout.splitlines() == [str(tmp_path / "run" / "model")]
    assert _step(tmp_path / "run") == 3 and content_hash(tmp_path / "run" / "model") != first
    assert [folder.name for folder in (tmp_path / "run" / "log").iterdir() if folder.name != "step0"] == ["step2"]
    assert yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())["settings"]["batch_size"] == 2


def test_whether_the_target_is_free_is_checked_before_training(
    train: Querysep, querysep: Querysep, ground: Path, tmp_path: Path
) -> None:
    for name in ("model", "detector"):
        (tmp_path / "run" / name).mkdir(parents=True)
        (tmp_path / "run" / name / "config.json").touch()
    train().assert_refused("model' exists already and is not of a run")
    detector = ("train", "detector", "--data", ground / "data", "--preset", ground / "small.yaml", *FAST)
    querysep(*detector, "-o", tmp_path / "run").assert_refused("detector' exists already and is not of a run")


def test_a_device_that_is_not_there_is_refused_before_anything(train: Querysep) -> None:
    if not torch.cuda.is_available():
        train("--set=device=cuda").assert_refused("device 'cuda' is not there.*device=auto")
    train("--set=device=gpu").assert_refused("device")
    assert train("--set=device=cpu", "--set=steps=1").code == 0


def test_options_are_asked_for_where_there_is_no_run(querysep: Querysep, tmp_path: Path) -> None:
    querysep("train", "separator", "-o", tmp_path / "run").assert_refused("Missing option '--data'")
    querysep("train", "separator", "-o", tmp_path / "run", "--data", tmp_path).assert_refused("option '--detector'")


def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(querysep: Querysep, ground: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    words = ["train", "separator", "--data", ground / "anchors", "--detector", ground / "run" / "detector"]
    words += ["-o", output, "--preset", ground / "small.yaml", *FAST, "--set=workers=1", "--set=steps=1000000"]
    words += ["--set=checkpoint_minutes=0.000001"]  # so that the test sees it begin
    process = subprocess.Popen(
        [sys.executable, "-m", "querysep", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        while not (output / "last.ckpt").is_file():
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, workers and all
        _, stderr = process.communicate()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    step = _step(output)
    assert process.returncode == 130
    assert stderr == (
        f"querysep: stopped after step {step}; '{output}/last.ckpt' is written. The same command goes on from there.\n"
    )
    assert not (output / "model").exists()
    assert querysep("train", "separator", "-o", output, f"--set=steps={step + 1}", "--set=workers=0").code == 0
    assert _step(output) == step + 1 and (output / "model").is_dir()


def test_both_trainings_work_with_spawned_workers(tmp_path: Path, tiny_model: Path, write_tone: WriteTone) -> None:
    for place, name in enumerate(("bell", "dog")):
        for number in range(3):
            write_tone(f"sounds/{name}/{number}.wav", frequency_hz=200.0 * (1 + 3 * place) + 10 * number)
    spawn = (
        "import multiprocessing; multiprocessing.set_start_method('spawn'); from querysep.cli.main import main; main()"
    )
    words = [
        "train",
        "finetune",
        "--data",
        tmp_path / "sounds",
        "--from",
        tiny_model,
        "-o",
        tmp_path / "run",
        "--quiet",
    ]
    ended = subprocess.run(
        [sys.executable, "-c", spawn, *map(str, words), "--minutes", "0.01", "--set=workers=1"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_one_unreadable_clip_is_left_out_and_counted(
    querysep: Querysep, ground: Path, tmp_path: Path, tiny_model: Path
) -> None:
    (tmp_path / "data").mkdir()
    make_set(tmp_path / "data", train=8)
    clips = sorted((tmp_path / "data").glob("train-*.flac"))
    clips[0].write_bytes(b"no sound")
    words = ("--data", tmp_path / "data", *FAST, "--set=steps=1")
    detector = querysep("train", "detector", *words, "--preset", ground / "small.yaml", "-o", tmp_path / "run")
    assert detector.code == 0, detector.stderr
    assert f"1 of the clips cannot be read and are left out, such as '{clips[0].name}'" in detector.stderr
    finetune = ("train", "finetune", "--data", tmp_path / "data", "--from", tiny_model, "--minutes", "0.01")
    assert "1 of the clips cannot be read" in querysep(*finetune, "-o", tmp_path / "mine").stderr
    assert (tmp_path / "mine" / "separator" / "model").is_dir()
    clips[9].write_bytes(b"no sound")
    querysep("train", "detector", *words, "--preset", ground / "small.yaml", "-o", tmp_path / "two").assert_refused(
        rf"2 of 24 clips cannot be read, more than 5%: {clips[9].name}: .*; {clips[0].name}: "
    )


def test_a_folder_without_a_test_side_can_keep_one(
    querysep: Querysep, ground: Path, tmp_path: Path, write_tone: WriteTone
) -> None:
    for place, name in enumerate(("bell", "dog")):
        for number in range(8):
            write_tone(f"sounds/{name}/{number}.wav", frequency_hz=200.0 * (1 + 3 * place) + 10 * number)
    hashes: list[str] = []
    for more in ((), ("--keep-test",), ("--keep-test",)):
        words = ("train", "detector", "--data", tmp_path / "sounds", "--preset", ground / "small.yaml", *FAST, *more)
        ended = querysep(*words, "--set=steps=1", "-o", tmp_path / f"run{len(hashes)}")
        assert ended.code == 0 and ("6 of its 16 clips are taken" in ended.stderr) == bool(more), ended.stderr
        hashes.append(yaml.safe_load((tmp_path / f"run{len(hashes)}" / "run.yaml").read_text())["data"]["hash"])
    assert hashes[0] != hashes[1] == hashes[2]
    mine = (
        "mine",
        "--data",
        tmp_path / "sounds",
        "--detector",
        tmp_path / "run1" / "detector",
        "-o",
        tmp_path / "store",
    )
    assert re.search(r"anchors of 10 clips; 0 clips", querysep(*mine, "--keep-test").stdout)
    measured = ("evaluate", "detection", "--data", tmp_path / "sounds", "--model", tmp_path / "run1" / "detector")
    ended = querysep(*measured, "--mixtures", "1", "-o", tmp_path / "figures")
    assert ended.code == 0 and "6 of its 16 clips are taken as one" in ended.stderr


def test_the_old_name_of_finetune_works_with_a_warning(
    querysep: Querysep, tmp_path: Path, write_tone: WriteTone
) -> None:
    write_tone("sounds/dog/1.wav")
    ended = querysep("train", "adapt", "--data", tmp_path / "sounds", "-o", tmp_path / "run")
    assert ended.code == 2 and "`querysep train adapt` is now `querysep train finetune`" in ended.stderr
