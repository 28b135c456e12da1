"""Running a protocol: task by task, into a journal that an interrupted evaluation goes on from."""

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from querysep.errors import DataError, OutputError
from querysep.evaluation.protocols.protocol import Protocol, Row
from querysep.evaluation.report.page import report_html
from querysep.evaluation.report.results import Identity, ModelFacts, Results, identify, revive
from querysep.evaluation.report.tables import markdown
from querysep.io.files import OutputSet, atomic_text, output_error
from querysep.progress import Progress, silent

JOURNAL = "rows.jsonl"
RESULTS = "results.json"
TABLE = "table.md"
REPORT = "report.html"

Engine = Callable[[Protocol, Sequence[str]], Iterator[list[Row]]]
"""Measures tasks, here or elsewhere; gives the rows of each, in the order of the tasks."""


def measure_here(protocol: Protocol, tasks: Sequence[str]) -> Iterator[list[Row]]:
    """Measure tasks in this process, one after the other."""
    return map(protocol.measure, tasks)


def run(
    protocol: Protocol,
    model: ModelFacts,
    folder: Path,
    *,
    command: str = "",
    engine: Engine = measure_here,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Results:
    """Measure all tasks that the folder's journal does not hold, and summarise.

    Rows pass through the journal's JSON before they are summarised, so that an evaluation that was cut short gives the
    same table as one that was not. Infinite figures become NaN.

    Args:
        protocol: what is measured.
        model: which model it measures.
        folder: where ``rows.jsonl`` lies or shall lie.
        command: that repeats the evaluation, for the results.
        engine: where the tasks are measured.
        overwrite: begin anew, whatever the folder holds.
        progress: told after each task.

    Returns:
        All rows in the order of the tasks, and the protocol's table.

    Raises:
        OutputError: the folder holds another evaluation, or cannot be written to.
        DataError: another process evaluates into the folder, the journal is damaged, or the protocol cannot measure.
    """
    identity = identify(protocol, model)
    tasks = list(protocol.tasks())
    with Journal(folder, identity, overwrite=overwrite) as journal:
        done = journal.rows
        missing = [task for task in tasks if task not in done]
        progress(len(tasks) - len(missing), len(tasks), protocol.name)
        for number, (task, rows) in enumerate(zip(missing, engine(protocol, missing), strict=True), start=1):
            journal.append(task, rows)
            progress(len(tasks) - len(missing) + number, len(tasks), protocol.name)
        rows = [row for task in tasks for row in done[task]]
    seed = identity.settings.get("seed")
    return Results(
        identity=identity,
        seed=seed if isinstance(seed, int) else None,
        command=command,
        headline=protocol.headline,
        summaries=protocol.summarise(rows),
        rows=rows,
    )


class _Entry(BaseModel):
    """A line of the journal."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    rows: list[Row]


class Journal:
    """``rows.jsonl``: a line that says what is measured, then a line for each task that is done. For a ``with`` block.

    A line that a cut left half-written is dropped, and its task measured again.

    Args:
        folder: made if it is missing.
        identity: of the evaluation.
        overwrite: begin anew, whatever the folder holds.

    Attributes:
        rows: of each task that is done.

    Raises:
        OutputError: the folder holds another evaluation, or cannot be written to.
        DataError: another process has the journal open, or a line within is damaged.
    """

    def __init__(self, folder: Path, identity: Identity, *, overwrite: bool = False) -> None:
        self.rows: dict[str, list[Row]] = {}
        self._path = folder / JOURNAL
        there = self._path.is_file()
        if not there and not overwrite:
            _check_no_results(folder)
        if there:
            self._open()  # nobody else may have it open, whatever is to happen to it
        if overwrite or not there:
            if there:
                self._file.close()
            atomic_text(self._path, identity.model_dump_json() + "\n")
            self._open()
        try:
            difference = self._difference(identity)
            if difference:
                raise OutputError(
                    f"'{folder}' holds an evaluation with {difference}. Use another folder, or --overwrite to begin "
                    "anew."
                )
            self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_error: object) -> None:
        self._file.close()

    def append(self, task: str, rows: Sequence[Row]) -> None:
        """Add a task that is done; it survives whatever happens after.

        Raises:
            OutputError: it cannot be written.
        """
        entry = _Entry(task=task, rows=[_finite(row) for row in rows])
        try:
            self._file.write(entry.model_dump_json().encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise output_error(self._path, error) from error
        self.rows[task] = entry.rows

    def _open(self) -> None:
        try:
            self._file = self._path.open("r+b")
        except OSError as error:
            raise output_error(self._path, error) from error
        with suppress(ImportError):  # no such locks on this system
            import fcntl

            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._file.close()
                raise DataError(
                    f"Another process evaluates into '{self._path.parent}'. Wait for it, or take another folder."
                ) from error
            except OSError:  # a network drive without locks
                return

    def _difference(self, identity: Identity) -> str:
        """Say in which field the evaluation that lies here differs, or nothing."""
        try:
            found = Identity.model_validate_json(self._file.readline())
        except ValidationError:
            return "a journal that cannot be read"
        for field in Identity.model_fields:
            ours, theirs = getattr(identity, field), getattr(found, field)
            if ours != theirs:
                return f"other {_words(field)} ({_differing(theirs, ours)})"
        return ""

    def _read(self) -> None:
        good = self._file.tell()
        for number, line in enumerate(self._file, start=2):
            if not line.endswith(b"\n"):
                break  # half-written when it was cut short
            try:
                raw = json.loads(line)
                entry = _Entry(task=raw["task"], rows=[Row(**revive(row)) for row in raw["rows"]])
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(
                    f"Line {number} of '{self._path}' is damaged. Use --overwrite, or remove it."
                ) from error
            self.rows[entry.task] = entry.rows
            good += len(line)
        self._file.seek(good)
        self._file.truncate()


def _finite(row: Row) -> Row:
    values = {name: value if math.isfinite(value) else math.nan for name, value in row.values.items()}
    return row.model_copy(update={"values": values})


def _check_no_results(folder: Path) -> None:
    if (folder / RESULTS).exists():
        raise OutputError(
            f"'{folder / RESULTS}' exists already, without the rows to go on from. Use another folder, or --overwrite."
        )


def _words(field: str) -> str:
    return {"model": "weights", "data_hash": "recordings", "version": "version of the protocol"}.get(field, field)


def _differing(theirs: object, ours: object) -> str:
    """Name what differs: of settings, the first one."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        key = next(key for key in [*ours, *theirs] if theirs.get(key) != ours.get(key))
        return f"{key}: {theirs.get(key, 'not set')}, now {ours.get(key, 'not set')}"
    if isinstance(theirs, ModelFacts) and isinstance(ours, ModelFacts):
        return f"{theirs.name} {theirs.hash}, now {ours.name} {ours.hash}"
    return f"{theirs}, now {ours}"


def write(results: Results, protocol: Protocol, folder: Path, *, progress: Progress = silent) -> list[Path]:
    """Write ``results.json``, ``table.md`` and ``report.html``, all of them or none.

    Args:
        results: of ``run``.
        protocol: gives the sounds of the report.
        folder: of the journal; older files of these names are replaced.
        progress: told while the report is drawn.

    Returns:
        The three paths.

    Raises:
        OutputError: the folder cannot be written to.
        ConfigError: Jinja2 is not installed.
    """
    contents = {
        RESULTS: results.to_json(),
        TABLE: markdown(results.summaries, results.headline),
        REPORT: report_html(results, protocol.sounds, progress=progress),
    }
    with OutputSet(overwrite=True) as outputs:
        for name, content in contents.items():
            outputs.write(folder / name, content.encode())
    return [folder / name for name in contents]
