"""What the commands show: a progress bar on a terminal, warnings, tables, pictures."""

import codecs
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import typer

from querysep.progress import Progress, silent


def print_any_name() -> None:
    """Make stdout and stderr take all names: bytes of a name stay what they are, other characters are escaped."""

    def bytes_or_escapes(error: UnicodeError) -> tuple[str | bytes, int]:
        try:
            return codecs.lookup_error("surrogateescape")(error)
        except UnicodeError:
            return codecs.lookup_error("backslashreplace")(error)

    codecs.register_error("querysep", bytes_or_escapes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="querysep")


def say(line: str) -> None:
    """Print a line on stderr, if anybody can see it."""
    with suppress(OSError, ValueError):  # closed, full, or read by a program that is gone
        typer.echo(line, err=True)


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator[Progress]:
    """Draw a bar on stderr while the block runs; draw nothing unless stderr is a terminal.

    Args:
        quiet: never draw.

    Yields:
        What to hand to the library as ``progress``.
    """
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=None)

        def report(done: float, total: float | None, what: str) -> None:
            bars.update(task, completed=done, total=total, description=what)

        yield report


def warn(messages: Iterable[str], *, quiet: bool = False) -> None:
    """Show warnings on stderr, one line each."""
    if not quiet:
        for message in messages:
            say(f"querysep: warning: {' '.join(message.split())}")


def print_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()) -> None:
    """Print a plain table on stdout: aligned columns, easy to read and to cut.

    Args:
        heads: the columns' names.
        rows: the cells, as many as there are columns.
        right: the columns whose cells are flush right, such as numbers.
    """
    table = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(heads))]
    flush_right = set(right)
    for row in table:
        cells = [
            cell.rjust(width) if column in flush_right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())


def show_paths(paths: Iterable[Path]) -> None:
    """Print the paths that were written on stdout, one a line."""
    for path in paths:
        typer.echo(str(path))
