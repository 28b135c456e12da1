"""What the command line does around its commands."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

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


def _heed_signals() -> None:
    """What runs in the background, or below nohup, ignores some, and so would its children."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _in_a_process(code: str, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(
        command,
        text=True,
        check=False,
        timeout=60,
        capture_output=True,
        preexec_fn=_heed_signals,
        **options,
    )


def test_ctrl_c_while_importing_is_one_line() -> None:
    """The signal comes as soon as the first large module is asked for."""
    ended = _in_a_process(
        "import os, signal, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from querysep.__main__ import main\n"
        "main()",
    )
    assert (ended.returncode, ended.stdout) == (130, "")
    assert re.fullmatch(r"querysep: interrupted[^\n]*\n", ended.stderr)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_signals_take_what_is_half_written_away(name: str, code: int, tmp_path: Path) -> None:
    ended = _in_a_process(
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from querysep.cli import main as command\n"
        "from querysep.io.files import OutputSet\n"
        "def app(**_):\n"
        "    with OutputSet() as outputs:\n"
        "        outputs.add(Path(sys.argv[1]) / 'new' / 'a.wav')\n"
        "        os.kill(os.getpid(), getattr(signal, sys.argv[2]))\n"
        "command.app = app\n"
        "command.main()",
        tmp_path,
        name,
    )
    assert ended.returncode == code
    assert re.fullmatch(r"querysep: [^\n]*nothing half-written[^\n]*\n", ended.stderr)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_closed_streams_are_no_mistake(closed: str, tmp_path: Path) -> None:
    words = f'"$0" -m querysep data stats {tmp_path / "none"} {closed}; echo $? > {tmp_path / "code"}'
    ended = subprocess.run(["bash", "-c", words, sys.executable], capture_output=True, text=True, check=False)
    assert (tmp_path / "code").read_text() == "2\n"
    assert ended.stdout == "" and "Traceback" not in ended.stderr
    words = f'"$0" -m querysep --version {closed}'
    ended = subprocess.run(["bash", "-c", words, sys.executable], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_a_full_stdout_is_one_line() -> None:
    words = ["bash", "-c", '"$0" -m querysep --version > /dev/full', sys.executable]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert re.fullmatch(r"querysep: error: No space left on device[^\n]*\n", ended.stderr)


@pytest.mark.parametrize("settings", [{"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_the_c_locale_prints_any_name(settings: dict[str, str], tmp_path: Path) -> None:
    command: list[str | Path] = [sys.executable, "-m", "querysep", "data", "stats", tmp_path / "日本"]
    ended = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **settings})
    assert ended.returncode == 2
    assert re.fullmatch(rb"querysep: error: [^\n]+\n", ended.stderr)
