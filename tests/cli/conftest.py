"""Running the command line as a user does."""

from pathlib import Path

import pytest
from cli.running import Outcome, Querysep, files_below

from querysep.cli.main import run


@pytest.fixture
def querysep(tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Querysep:
    """Run a command in this process, with the tiny model unless the arguments name another."""

    def command(*arguments: object) -> Outcome:
        words = [str(argument) for argument in arguments]
        if words[0] in ("separate", "split", "detect", "labels") and "--model" not in words:
            words += ["--model", str(tiny_model)]
        before = files_below(tmp_path)
        capsys.readouterr()
        code = run(words)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err, tuple(sorted(files_below(tmp_path) - before)))

    return command
