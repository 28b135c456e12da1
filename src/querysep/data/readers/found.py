"""What a reader finds in a data set: clips, and everything that it could not take."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from querysep.data.manifest import Split
from querysep.data.readers.clip_table import ClipTable

ProblemKind = Literal["missing", "unreadable", "unlabelled", "row", "repeated"]

SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "dev", "development"), "train"),
    **dict.fromkeys(("validation", "valid", "val"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""How people name the splits, in small letters."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something in the data set that is not among the clips.

    Attributes:
        path: of the file, or of the list and its line; as in the data set.
        kind: missing or unreadable file, sound without a label, row that makes no sense, row that was there before.
        detail: what is wrong, in a sentence.
    """

    path: str
    kind: ProblemKind
    detail: str


@dataclass
class Found:
    """A data set as a reader found it.

    Attributes:
        root: the folder that the clips' paths start from.
        clips: the clips.
        problems: what could not be taken.
        warnings: what was decided for the user, one sentence each.
        segments: files may be the segment or the longer recording that it was cut from; reading tells.
    """

    root: Path
    clips: ClipTable = field(default_factory=ClipTable)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    segments: bool = False

    def leave_out(self, path: str, kind: ProblemKind, detail: str) -> None:
        """Note something that is not taken."""
        self.problems.append(Problem(path, kind, detail))


def in_words(names: Iterable[str], most: int = 8) -> str:
    """Return names joined by commas, the first few of many."""
    given = list(names)
    return ", ".join(given[:most]) + (f" and {len(given) - most} more" if len(given) > most else "")
