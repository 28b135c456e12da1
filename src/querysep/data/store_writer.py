"""Writing Lance tables: by one process at a time, in atomic commits, and finished."""

import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from querysep.data.store_table import (
    COMPLETE,
    FACTS,
    RUN,
    Dataset,
    Options,
    Schema,
    facts_of,
    find_table,
    is_complete,
    is_local,
    load_lance,
    table_errors,
)
from querysep.errors import DataError, OutputError

_FORMAT_VERSION = "2.2"  # the first with blob columns of the second kind, whose bytes lie one after the other
_EVER = timedelta(days=36_500)


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
            dataset = find_table(uri, options, None)
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
                self.dataset.update_metadata({COMPLETE: None})
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
                self.dataset.update_metadata({COMPLETE: self.facts[RUN]})
            self.dataset.cleanup_old_versions(older_than=timedelta(0), error_if_tagged_old_versions=False)

    def close(self) -> None:
        """Let others write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _create(self, mode: str) -> Dataset:
        import pyarrow as pa

        facts = {"kind": self._kind, RUN: uuid.uuid4().hex, **self._facts}
        schema = self._schema.with_metadata({FACTS: json.dumps(facts).encode()})
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
