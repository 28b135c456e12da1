"""A run folder knows what it was begun with."""

import errno
from pathlib import Path

import pytest
import yaml

from querysep.errors import ConfigError, OutputError
from querysep.training.callbacks import write_checkpoint
from querysep.training.config import SeparatorTraining
from querysep.training.run_folder import (
    FREE,
    RunRecord,
    Source,
    begin_run,
    finish_run,
    read_config,
    read_run,
    replacing,
    settings_of,
)


def _record(data: str = "d1", **settings: object) -> RunRecord:
    return RunRecord(
        command="separator",
        network={"channels": [8, 16]},
        settings=SeparatorTraining(**settings).model_dump(mode="json"),  # type: ignore[arg-type]
        data=Source(location="store", hash=data),
        detector=Source(location="detector", hash="e1"),
    )


def test_run_yaml_holds_everything(tmp_path: Path) -> None:
    begin_run(tmp_path, _record(batch_size=4), tmp_path / "model", change=False)
    raw = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert raw["settings"] == SeparatorTraining(batch_size=4).model_dump(mode="json")
    assert (raw["data"]["hash"], raw["detector"]["hash"], raw["network"]) == ("d1", "e1", {"channels": [8, 16]})
    assert raw["version"] and raw["started"] and raw["threads"] >= 1 and raw["processes"] == 1
    assert raw["commit"] is None or len(raw["commit"]) >= 40
    assert read_run(tmp_path) == RunRecord.model_validate(raw)
    assert read_run(tmp_path / "elsewhere") is None


def test_free_settings_are_settings() -> None:
    assert set(SeparatorTraining.model_fields) >= FREE


def test_what_differs_is_named_with_both_values(tmp_path: Path) -> None:
    begin_run(tmp_path, _record(batch_size=4, seed=2), tmp_path / "model", change=False)
    before = (tmp_path / "run.yaml").read_text()
    with pytest.raises(ConfigError, match=r"batch_size was 4, now 8; optimizer was muon, now adamw.*--change"):
        begin_run(tmp_path, _record(batch_size=8, seed=2, optimizer="adamw"), tmp_path / "model", change=False)
    with pytest.raises(ConfigError, match="data was d1, now d2"):
        begin_run(tmp_path, _record("d2", batch_size=4, seed=2), tmp_path / "model", change=False)
    assert (tmp_path / "run.yaml").read_text() == before


def test_a_longer_run_is_no_other_run_and_its_history_tells(tmp_path: Path) -> None:
    begin_run(tmp_path, _record(), tmp_path / "model", change=False)
    finish_run(tmp_path, 7)
    begin_run(tmp_path, _record(minutes=120.0, workers=3), tmp_path / "model", change=False)
    begin_run(tmp_path, _record(minutes=120.0, workers=3), tmp_path / "model", change=False)
    record = read_run(tmp_path)
    assert record is not None and record.finished_step == 7 and record.settings["minutes"] == 120.0
    assert [entry["changed"] for entry in record.history] == [{"minutes": [None, 120.0], "workers": [1, 3]}]


def test_a_change_that_is_wanted_is_noted_but_not_another_network(tmp_path: Path) -> None:
    begin_run(tmp_path, _record(), tmp_path / "model", change=False)
    (tmp_path / "best.pt").touch()
    begin_run(tmp_path, _record(learning_rate=1e-4), tmp_path / "model", change=True)
    assert (tmp_path / "best.pt").is_file()
    begin_run(tmp_path, _record("d2", learning_rate=1e-4), tmp_path / "model", change=True)
    assert not (tmp_path / "best.pt").exists()  # its figure is of other recordings
    record = read_run(tmp_path)
    assert record is not None and record.settings["learning_rate"] == 1e-4 and record.data.hash == "d2"
    assert [list(entry["changed"]) for entry in record.history] == [["learning_rate"], ["data"]]
    other = _record("d2", learning_rate=1e-4).model_copy(update={"network": {"channels": [8, 32]}})
    with pytest.raises(ConfigError, match=r"another one: network was \{'channels': \[8, 16\]\}, now"):
        begin_run(tmp_path, other, tmp_path / "model", change=True)


def test_weights_of_nobody_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    begin_run(tmp_path, _record(), tmp_path / "model", change=False)  # empty
    (tmp_path / "run.yaml").unlink()
    (tmp_path / "model" / "config.json").touch()
    with pytest.raises(OutputError, match=r"exists already and is not of a run"):
        begin_run(tmp_path, _record(), tmp_path / "model", change=True)
    assert not (tmp_path / "run.yaml").exists()


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    model = tmp_path / "model"
    for text in ("first", "second"):
        with replacing(model) as new:
            new.mkdir()
            (new / "weights").write_text(text)

    def fail() -> None:
        with replacing(model) as new:
            new.mkdir()
            (new / "weights").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (model / "weights").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_settings_lie_above_each_other(tmp_path: Path) -> None:
    stored = _record(batch_size=4, seed=2, workers=5)
    settings = settings_of(SeparatorTraining, stored, {"seed": 3, "workers": 7, "sources": [1, 0, 0]}, {"workers": 0})
    assert settings == SeparatorTraining(batch_size=4, seed=3, workers=0, sources=(1, 0, 0))
    with pytest.raises(ConfigError, match=r"'learning_rat' is not a known setting. Closest: 'learning_rate'"):
        settings_of(SeparatorTraining, None, {}, {"learning_rat": 1})
    with pytest.raises(ConfigError, match="batch_size"):
        settings_of(SeparatorTraining, None, {"batch_size": -1}, {})


def test_a_run_yaml_is_a_config(tmp_path: Path) -> None:
    begin_run(tmp_path, _record(batch_size=4).model_copy(update={"preset": "wide"}), tmp_path / "model", change=False)
    preset, settings = read_config(tmp_path / "run.yaml")
    assert preset == "wide" and settings["batch_size"] == 4
    (tmp_path / "own.yaml").write_text("settings: {seed: 9}\n")
    assert read_config(tmp_path / "own.yaml") == ("", {"seed": 9})
    for text, message in (
        ("setings: {seed: 9}", r"'setings' is not a known key. Closest: 'settings'"),
        ("[1, 2]", "holds no settings"),
        ("settings: [1, 2]", "no list of names"),
    ):
        (tmp_path / "own.yaml").write_text(text)
        with pytest.raises(ConfigError, match=message):
            read_config(tmp_path / "own.yaml")
    with pytest.raises(ConfigError, match="no file"):
        read_config(tmp_path / "none.yaml")


def test_a_damaged_run_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("command: cooking\n")
    with pytest.raises(ConfigError, match="does not describe a run: command"):
        read_run(tmp_path)


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    class Full:
        is_global_zero = True

        def save_checkpoint(self, path: Path) -> None:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device", "/tmp/else")

    (tmp_path / "last.ckpt").write_bytes(b"whole")
    with pytest.raises(OutputError, match=r"last\.ckpt' cannot be written: the disk is full"):
        write_checkpoint(Full(), tmp_path / "last.ckpt")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("last.ckpt", b"whole")]
