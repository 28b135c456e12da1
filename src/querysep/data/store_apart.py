"""Lance for a forked process, in a fresh one of its own.

Lance's threads do not outlive a fork, and what they held at that moment stays as it was. A forked process that calls
Lance then hangs or crashes now and then, even if it opens the table anew; seen with tables on S3. Ours never calls it:
it starts another and asks that.
"""

import os
import pickle
import subprocess
import sys
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from querysep.data.store_table import Dataset, Options, open_table, table_errors
from querysep.errors import DataError

_PROGRAM = "from querysep.data.store_apart import serve; serve()"

Range = tuple[int, int, int]
"""Row address, first byte, count of bytes."""


@dataclass(frozen=True)
class Column:
    """Which column of which version of which table is read."""

    uri: str
    name: str
    options: Options | None
    version: int

    def open(self) -> Dataset:
        """Open the table in this process.

        Raises:
            DataError: it cannot be read.
        """
        return open_table(self.uri, self.options, self.version)

    def read(self, dataset: Dataset, asked: Sequence[Range]) -> list[bytes]:
        """Return the bytes of the ranges that are asked for.

        Raises:
            DataError: the table cannot be read.
        """
        if not asked:
            return []
        with table_errors(self.uri, "read"):
            return [data for _, _, data in dataset.read_blob_ranges(self.name, list(asked), selector="addresses")]


class ReaderApart:
    """Reads a column by a process of its own, which ends with this one.

    Attributes:
        owner: the process that started it, and the only one that may ask.
    """

    def __init__(self, column: Column) -> None:
        self.owner = os.getpid()
        self._uri = column.uri
        # A session of its own, so that Ctrl-C stops the training and not its reader first.
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        weakref.finalize(self, _end, self._process)
        self._send(column)

    def read(self, asked: Sequence[Range]) -> list[bytes]:
        """Return the bytes of the ranges that are asked for.

        Raises:
            DataError: the table cannot be read, or the process is gone.
        """
        self._send(asked)
        assert self._process.stdout is not None
        try:
            answer = pickle.load(self._process.stdout)
        except EOFError as error:
            raise self._gone() from error
        if isinstance(answer, str):
            raise DataError(answer)
        found: list[bytes] = answer
        return found

    def _send(self, what: object) -> None:
        assert self._process.stdin is not None
        try:
            pickle.dump(what, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._gone() from error

    def _gone(self) -> DataError:
        return DataError(
            f"The process that reads the table '{self._uri}' for this one ended with code {self._process.wait()}. "
            "Start again; if it ends once more, train with workers=0."
        )


def _end(process: "subprocess.Popen[bytes]") -> None:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with suppress(BrokenPipeError):  # it is gone already
            pipe.close()
    process.wait()


def serve() -> None:
    """Answer on standard output what is asked on standard input, until that ends; an error as its text."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    try:
        column: Column = pickle.load(questions)
        dataset = None
        while True:
            asked = pickle.load(questions)
            try:
                if dataset is None:
                    dataset = column.open()
                answer: list[bytes] | str = column.read(dataset, asked)
            except DataError as error:
                answer = str(error)
            pickle.dump(answer, answers)
            answers.flush()
    except (EOFError, BrokenPipeError):
        return
