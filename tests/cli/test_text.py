"""Free words on the command line: what they were understood as, and how a model learns them."""

import json
import shutil
from pathlib import Path

import pytest
from cli.running import Querysep
from recordings import WriteTone


def test_words_are_understood_and_told(
    querysep: Querysep, write_tone: WriteTone, tmp_path: Path, talking_model: Path
) -> None:
    told = querysep("separate", write_tone(), "-q", "text:a barking hound", "-o", tmp_path, "--model", talking_model)
    assert told.code == 0, told.stderr
    assert "text:a barking hound means: Dog " in told.stdout
    report = json.loads((tmp_path / "mixture.report.json").read_text())
    examples = report["queries"][0]["examples"]
    assert examples[0]["name"] == "Dog" and examples[0]["weight"] > 0.5
    assert sum(example["weight"] for example in examples) == pytest.approx(1.0)


def test_words_search_the_bank(querysep: Querysep, write_tone: WriteTone, tmp_path: Path, talking_model: Path) -> None:
    bank = ("--bank", tmp_path / "bank", "--model", talking_model)
    querysep("bank", "add", "one", write_tone("one.wav"), *bank)
    for words in ("a barking hound", "text:a barking hound", "label:dog"):
        found = querysep("bank", "search", words, *bank)
        assert found.code == 0 and "one.wav" in found.stdout, found.stderr


def test_a_model_that_knows_no_words_says_what_to_do(
    querysep: Querysep, write_tone: WriteTone, tmp_path: Path, tiny_model: Path
) -> None:
    file = write_tone()
    querysep("separate", file, "-q", "text:a barking hound", "-o", tmp_path / "out").assert_refused("labels --text")
    named = querysep("separate", file, "-q", "text:the dogs", "-o", tmp_path / "out")
    assert named.code == 0 and "text:the dogs means: Dog 1.00" in named.stdout
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare)
    (bare / "labels.safetensors").unlink()
    querysep("labels", "--text", "--model", bare).assert_refused("label bank")
    querysep("labels", "--text", "--encoder", "none").assert_refused("no text encoder 'none'")
