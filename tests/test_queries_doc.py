"""Every example of docs/queries.md runs, and every kind of query has one."""

import re
import shlex
from pathlib import Path

import pytest

from querysep.cli.main import run
from querysep.queries.query import Query

PAGE = (Path(__file__).parents[1] / "docs" / "queries.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SHELL = "".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = [line for line in SHELL.splitlines() if line.startswith("querysep ")]


def test_every_kind_has_an_example() -> None:
    asked = [word for command in COMMANDS for word in shlex.split(command, comments=True)[3:]]
    kinds = {Query.parse(word).kind for word in asked if not word.startswith("-")}
    assert kinds == {"audio", "bank", "label", "span", "text"}
    assert {"--not", "max", "each"} <= set(asked)
    assert len(EXAMPLES) >= 3


@pytest.mark.usefixtures("street")
@pytest.mark.parametrize("example", EXAMPLES)
def test_python_example(example: str) -> None:
    exec(compile(example, "queries.md", "exec"), {})


@pytest.mark.usefixtures("street")
@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("querysep bank")])
def test_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "bank:" in command:
        run(["bank", "add", "my-dog", "dog.wav"])
    assert run(shlex.split(command, comments=True)[1:]) == 0, capsys.readouterr().err


@pytest.mark.usefixtures("street")
def test_commands_of_the_bank_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [command for command in COMMANDS if command.startswith("querysep bank")]
    assert {shlex.split(command)[2] for command in commands} == {"add", "list", "search", "export", "remove", "import"}
    for command in commands:
        assert run(shlex.split(command, comments=True)[1:]) == 0, capsys.readouterr().err
