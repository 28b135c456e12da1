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
    assert kinds == {"audio", "label", "span"}
    assert {"--not", "max", "each"} <= set(asked)
    assert len(EXAMPLES) >= 3


@pytest.mark.usefixtures("street")
@pytest.mark.parametrize("example", EXAMPLES)
def test_python_example(example: str) -> None:
    exec(compile(example, "queries.md", "exec"), {})


@pytest.mark.usefixtures("street")
@pytest.mark.parametrize("command", COMMANDS)
def test_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shlex.split(command, comments=True)[1:]) == 0, capsys.readouterr().err
