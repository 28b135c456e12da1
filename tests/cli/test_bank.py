"""``querysep bank``: keep, list, find, mail and remove; and ask for it."""

import json
import sys
from pathlib import Path

import pytest
from cli.running import Querysep
from recordings import WriteTone


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUERYSEP_BANK", str(tmp_path / "bank"))
    monkeypatch.setattr("querysep.model.bundled_models", lambda: {"default": tiny_model})


def test_a_sound_is_kept_found_asked_for_mailed_and_removed(
    querysep: Querysep, write_tone: WriteTone, tmp_path: Path
) -> None:
    low, high = write_tone("low.wav", frequency_hz=200), write_tone("sounds/high.wav", frequency_hz=5_000)
    mixture = write_tone("mixture.wav", seconds=2.0)
    assert querysep("bank", "list").stdout == "name  sounds  length  added\n"
    assert querysep("bank", "add", "low", low).stdout == "low: 1 sound added\n"
    assert querysep("bank", "add", "both", low, high.parent).stdout == "both: 2 sounds added\n"
    assert querysep("bank", "add", "Low", low).stdout == "low: 0 sounds added, 1 there already\n"
    listed = querysep("bank", "list").stdout.splitlines()
    assert [line.split()[:3] for line in listed[1:]] == [["both", "2", "2.0"], ["low", "1", "1.0"]]
    found = querysep("bank", "search", high, "-n", 1).stdout.splitlines()
    assert found[1].split() == ["both", "1.000", "high.wav"]

    asked = querysep("separate", mixture, "-q", "bank:LOW", "--not", "bank:both", "-o", tmp_path / "out")
    assert asked.code == 0, asked.stderr
    report = json.loads((tmp_path / "out" / "mixture.report.json").read_text())
    assert report["queries"][0]["kind"] == "bank" and report["queries"][0]["examples_used"] == 1
    assert [example["name"] for example in report["not_queries"][0]["examples"]] == ["both: high.wav", "both: low.wav"]
    querysep("separate", mixture, "-q", low, "--not", high, "--not", low, "-o", tmp_path / "by_file")
    by_file = json.loads((tmp_path / "by_file" / "mixture.report.json").read_text())
    assert report["queries"][0]["presence"] == pytest.approx(by_file["queries"][0]["presence"], abs=2e-3)

    mailed = tmp_path / "mail.zip"
    assert querysep("bank", "export", mailed, "low").stdout == f"low: 1 sound exported\n{mailed}\n"
    querysep("bank", "export", mailed).assert_refused("exists already")
    elsewhere = ("--bank", tmp_path / "other")
    assert querysep("bank", "import", mailed, *elsewhere).stdout == "low: 1 sound added\n"
    assert querysep("bank", "import", mailed, *elsewhere).stdout == "low: 0 sounds added, 1 there already\n"
    again = querysep("separate", mixture, "-q", "bank:low", "-o", tmp_path / "again", *elsewhere)
    assert again.code == 0, again.stderr
    assert querysep("bank", "remove", "low", "both").stdout == "low: 1 sound removed\nboth: 2 sounds removed\n"
    querysep("bank", "search", high).assert_refused("no sound in the bank")
    querysep("separate", mixture, "-q", "bank:low", "-o", tmp_path / "none").assert_refused("no sound in the bank")


def test_mistakes(querysep: Querysep, write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_tone("dog.wav")
    querysep("bank", "search", "nosuch.wav").assert_refused("no file 'nosuch.wav'")
    querysep("bank", "search", tmp_path / "nosuch").assert_refused("no file")
    querysep("bank", "add", "my/dog", file).assert_refused("cannot be a name")
    querysep("bank", "add", "dog", tmp_path / "none.wav").assert_refused("no file or folder")
    querysep("bank", "export", tmp_path / "x.zip").assert_refused("no sound in the bank")
    querysep("bank", "import", file).assert_refused("not a bank")
    assert querysep("bank", "add", "my-dog", file).code == 0
    querysep("bank", "remove", "my-dgo").assert_refused("Closest: 'my-dog'")
    querysep("separate", file, "-q", "bank:dog", "-o", tmp_path / "out").assert_refused("Closest: 'my-dog'")
    querysep("bank", "list", "--bank", "s3://bucket/mine").assert_refused("folder of this machine")
    monkeypatch.delenv("QUERYSEP_BANK")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    querysep("bank", "list").assert_refused(r"extra 'data': pip install 'querysep\[data\]'")
    querysep("separate", file, "-q", "bank:my-dog", "-o", tmp_path / "out").assert_refused(r"querysep\[data\]")


def test_a_bank_that_cannot_be_made(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    (tmp_path / "bank").write_text("a file in its place")
    querysep("bank", "add", "dog", write_tone("dog.wav")).assert_refused("cannot be (read|written)")
