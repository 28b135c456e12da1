"""The README's Python examples run, and its commands exist."""

import re
import shlex
from pathlib import Path

import pytest
from recordings import WriteTone

from querysep.cli.main import run

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
SHELL = "".join(re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL))
COMMANDS = [line for line in SHELL.splitlines() if line.startswith("querysep ")]


@pytest.fixture
def _street(write_tone: WriteTone, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the examples name, and a tiny model in the place of the bundled one."""
    write_tone("street.wav", seconds=5.0, channels=2)
    for number, name in enumerate(("dog.wav", "another-dog.wav", "bell.wav", "barks/1.wav", "barks/2.wav")):
        write_tone(name, frequency_hz=300.0 + 100 * number)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("querysep.model.bundled_models", lambda: {"default": tiny_model})


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 3
    assert len(COMMANDS) >= 5


@pytest.mark.usefixtures("_street")
@pytest.mark.parametrize("example", EXAMPLES)
def test_python_example(example: str) -> None:
    exec(compile(example, "README.md", "exec"), {})


@pytest.mark.usefixtures("_street")
@pytest.mark.parametrize("command", [c for c in COMMANDS if "official" not in c])
def test_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command, comments=True)[1:]
    assert run([*words, "--overwrite"]) == 0, capsys.readouterr().err
