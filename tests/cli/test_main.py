"""What the command line does around its commands."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli.running import Querysep

from querysep.cli import models
from querysep.cli.main import run
from querysep.cli.terminal import print_table, progress_bar
from querysep.progress import silent

COMMAND = Path(sys.executable).with_name("querysep")


def test_version(querysep: Querysep) -> None:
    from importlib.metadata import version

    assert querysep("--version").stdout == f"querysep {version('querysep')}\n"


@pytest.mark.parametrize(
    "command", ["separate", "detect", "models", "labels", "import-official", "data", "mine", "train", "evaluate"]
)
def test_every_command_explains_itself(command: str, querysep: Querysep) -> None:
    ended = querysep(command, "--help")
    assert f"Usage: querysep {command}" in ended.stdout
    assert (ended.code, ended.stderr) == (0, "")


def test_models_shows_size_parameters_and_licence(
    monkeypatch: pytest.MonkeyPatch, querysep: Querysep, tiny_model: Path
) -> None:
    monkeypatch.setattr("querysep.model.bundled_models", lambda: {"tiny": tiny_model})
    heads, row = querysep("models").stdout.splitlines()
    assert heads.split() == ["name", "size", "parameters", "licence"]
    assert re.fullmatch(r"tiny +0\.\d MB +0\.\d\d M +none", row)


def test_parameters_are_those_that_training_changes(tiny_model: Path) -> None:
    from querysep.model import load_model

    model = load_model(tiny_model, "cpu")
    trained = sum(tensor.numel() for net in (model.detector, model.separator) for tensor in net.parameters())
    assert models._parameters(tiny_model / "model.safetensors") == trained


def test_a_mistake_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("querysep.model.bundled_models", broken)
    with pytest.raises(ZeroDivisionError):
        run(["models"])


def test_ctrl_c_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("querysep.model.bundled_models", interrupted)
    assert run(["models"]) == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_a_reader_that_goes_away_is_no_crash(tiny_model: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    words: list[str | Path] = [COMMAND, "labels", "--model", tiny_model]
    ended = subprocess.run(words, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


def test_bars_are_drawn_on_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with progress_bar(quiet=False) as progress:
        assert progress is silent

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    with progress_bar(quiet=True) as progress:
        assert progress is silent
    with progress_bar(quiet=False) as progress:
        for done in range(5):
            progress(float(done), 4.0, "separating [bold]")
    assert isinstance(sys.stderr, Terminal)
    assert "separating [bold]" in sys.stderr.getvalue()
    assert "100%" in sys.stderr.getvalue()


def test_tables_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("name", "n"), [("a", "1"), ("longer", "100")], right=(1,))
    assert capsys.readouterr().out == "name      n\na         1\nlonger  100\n"
