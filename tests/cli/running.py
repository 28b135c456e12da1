"""What running the command line leaves behind."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    stdout: str
    stderr: str
    new_files: tuple[str, ...]

    def assert_refused(self, pattern: str) -> None:
        """One useful line, exit code 2, nothing written."""
        assert self.code == 2, self
        assert re.fullmatch(r"querysep: error: [^\n]+\n", self.stderr), self.stderr
        assert re.search(pattern, self.stderr, re.IGNORECASE), self.stderr
        assert self.stdout == ""
        assert self.new_files == ()


Querysep = Callable[..., Outcome]


def files_below(folder: Path) -> set[str]:
    """All files and folders below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
