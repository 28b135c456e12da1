"""Lance tables: where they lie, how they are opened, written by one process at a time, and finished.

A table is in a folder or on an object store (``s3://bucket/prefix``). Every append is one atomic commit: a reader sees
all of it or nothing, whenever the writer dies.
"""

import json
import os
import uuid
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Self, TypeAlias

from querysep.errors import ConfigError, DataError, OutputError

Options: TypeAlias = Mapping[str, str]
"""Of an object store: credentials, endpoint, region; what is not given comes from the environment (``AWS_...``)."""

Dataset: TypeAlias = Any
"""A ``lance.LanceDataset``; Lance is imported when a table is used, not before."""

Schema: TypeAlias = Any
"""A ``pyarrow.Schema``."""

_FACTS, _COMPLETE, _RUN = b"querysep", "querysep.complete", "run"
_FORMAT_VERSION = "2.2"  # the first with blob columns of the second kind, whose bytes lie one after the other
_EVER = timedelta(days=36_500)
_hushed: list[Any] = []  # contexts of warnings, entered before a fork and left after it


def load_lance() -> ModuleType:
    """Import Lance.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import lance
    except ImportError as error:
        raise ConfigError("A store needs the extra 'data': pip install 'querysep[data]'.") from error
    _hush_forks()
    return lance


@cache
def _hush_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hush, after_in_parent=_unhush, after_in_child=_unhush)


def _hush() -> None:
    """Hide Lance's warning at a fork: our readers open the table anew in every process (see store_sound)."""
    context = warnings.catch_warnings()
    context.__enter__()
    warnings.filterwarnings("ignore", message="lance is not fork-safe")
    _hushed.append(context)


def _unhush() -> None:
    _hushed.pop().__exit__(None, None, None)


def table_uri(location: str | Path, name: str) -> str:
    """Return where a table of a store lies: ``STORE/name.lance``, or the location itself if it is a table's."""
    text = str(location).rstrip("/")
    if text.endswith(".lance"):
        return text
    return f"{text}/{name}.lance"


def is_local(uri: str) -> bool:
    """Tell whether a table is in a folder of this machine."""
    return "://" not in uri


def has_table(uri: str, options: Options | None = None) -> bool:
    """Tell whether a table is there, finished or not.

    Raises:
        DataError: the place cannot be reached, or what lies there is damaged.
    """
    if is_local(uri) and not (Path(uri) / "_versions").is_dir():
        return False
    return _opened(uri, options, None) is not None


def open_table(uri: str, options: Options | None = None, version: int | None = None) -> Dataset:
    """Open a table.

    Raises:
        DataError: it is not there, damaged or cannot be reached.
    """
    dataset = _opened(uri, options, version)
    if dataset is None:
        raise DataError(f"There is no table '{uri}'. Make it by `querysep data pack` (clips) or `querysep mine`.")
    return dataset


def _opened(uri: str, options: Options | None, version: int | None) -> Dataset | None:
    lance = load_lance()
    try:
        with table_errors(uri, "read"):
            return lance.dataset(uri, version=version, storage_options=dict(options) if options else None)
    except DataError as error:
        cause = str(error.__cause__)
        if "was not found" in cause or "Not found" in cause:
            return None
        raise


def facts_of(dataset: Dataset, kind: str) -> dict[str, Any]:
    """Return what the writer of a table wrote down about it.

    Raises:
        DataError: the table is not of this kind.
    """
    try:
        facts = json.loads((dataset.schema.metadata or {})[_FACTS])
        if facts["kind"] != kind:
            raise KeyError(kind)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"The table '{dataset.uri}' does not hold {kind} of querysep.") from error
    return dict(facts)


def is_complete(dataset: Dataset) -> bool:
    """Tell whether the writer of a table finished it."""
    facts = json.loads((dataset.schema.metadata or {})[_FACTS])
    return bool(dataset.metadata.get(_COMPLETE) == facts[_RUN])


@contextmanager
def table_errors(uri: str, what: str) -> Iterator[None]:
    """Turn what Lance raises into our one line.

    Raises:
        DataError: the table cannot be read or written.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        told = str(error).split(", /home/")[0].split(": <?xml")[0].splitlines()  # without Rust's places and S3's pages
        reason = told[0] if told else type(error).__name__
        raise DataError(f"The table '{uri}' cannot be {what} ({reason[:300].rstrip('.')}).") from error


class TableWriter:
    """Writes a table, alone; a table that was begun goes on.

    Args:
        uri: of the table.
        kind: what its rows are, such as ``clips``.
        schema: of the rows.
        facts: what readers must know, such as the sample rate; kept in the table from the first commit on.
        options: of the object store.

    Raises:
        DataError: another process writes it, it is of another kind, or the place cannot be written to.
    """

    def __init__(
        self, uri: str, kind: str, schema: Schema, facts: Mapping[str, Any], options: Options | None = None
    ) -> None:
        self.uri = uri
        self._kind, self._schema, self._facts = kind, schema, dict(facts)
        self._options = dict(options) if options else None
        self._lance = load_lance()
        self._lock = _lock(uri) if is_local(uri) else None
        try:
            dataset = _opened(uri, options, None)
            self.dataset: Dataset = self._create("create") if dataset is None else dataset
            self.facts = facts_of(self.dataset, kind)
            if self._lock is not None:
                self._drop_what_a_killed_writer_left()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def complete(self) -> bool:
        """Whether it was finished."""
        return is_complete(self.dataset)

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.dataset.count_rows())

    def start_over(self) -> None:
        """Begin anew with an empty table; a finished one stays within reach under a tag."""
        if self.complete:
            self.dataset.tags.create(f"finished-{self.dataset.version}", self.dataset.version)
        self.dataset = self._create("overwrite")
        self.facts = facts_of(self.dataset, self._kind)

    def append(self, batches: Iterable[Any]) -> None:
        """Add rows, as one commit.

        Args:
            batches: ``pyarrow.RecordBatch`` of the schema, taken one by one.

        Raises:
            DataError: the rows cannot be written, or another process wrote in between.
        """
        import pyarrow as pa

        self._alone()
        if self.complete:
            with table_errors(self.uri, "written"):
                self.dataset.update_metadata({_COMPLETE: None})
        expected = self.dataset.version
        failures: list[BaseException] = []
        reader = pa.RecordBatchReader.from_batches(self._schema, _kept(batches, failures))
        try:
            with table_errors(self.uri, "written"):
                self.dataset = self._lance.write_dataset(
                    reader, self.dataset, mode="append", storage_options=self._options
                )
        except DataError:
            if failures:  # Lance tells of it in words only
                raise failures[0] from None
            raise
        if self.dataset.version != expected + 1:
            raise DataError(_two_writers(self.uri))

    def finish(self) -> None:
        """Mark the table complete, and drop the versions on the way to it."""
        self._alone()
        with table_errors(self.uri, "written"):
            if not self.complete:
                self.dataset.update_metadata({_COMPLETE: self.facts[_RUN]})
            self.dataset.cleanup_old_versions(older_than=timedelta(0), error_if_tagged_old_versions=False)

    def close(self) -> None:
        """Let others write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _create(self, mode: str) -> Dataset:
        import pyarrow as pa

        facts = {"kind": self._kind, _RUN: uuid.uuid4().hex, **self._facts}
        schema = self._schema.with_metadata({_FACTS: json.dumps(facts).encode()})
        with table_errors(self.uri, "written"):
            return self._lance.write_dataset(
                pa.RecordBatchReader.from_batches(schema, []),
                self.uri,
                schema=schema,
                mode=mode,
                data_storage_version=_FORMAT_VERSION,
                storage_options=self._options,
            )

    def _alone(self) -> int:
        with table_errors(self.uri, "read"):
            latest = int(self.dataset.latest_version)
        if latest != self.dataset.version:
            raise DataError(_two_writers(self.uri))
        return latest

    def _drop_what_a_killed_writer_left(self) -> None:
        with table_errors(self.uri, "written"):
            self.dataset.cleanup_old_versions(
                older_than=_EVER, delete_unverified=True, error_if_tagged_old_versions=False
            )


def _kept(batches: Iterable[Any], failures: list[BaseException]) -> Iterator[Any]:
    try:
        yield from batches
    except BaseException as error:
        failures.append(error)
        raise


def _two_writers(uri: str) -> str:
    return f"Another process writes '{uri}' as well. Let only one run, then start this one again: it goes on."


def _lock(uri: str) -> int | None:
    """Take the table's folder for this process; the system gives it back when the process ends, however it ends."""
    folder = Path(uri)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"The folder '{folder}' cannot be made or opened ({error.strerror}).") from error
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise DataError(_two_writers(uri)) from error
    except (ImportError, OSError):  # no such locks on this system; the check of versions remains
        os.close(handle)
        return None
    return handle
