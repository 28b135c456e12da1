"""Shards: the rows of a table and their sound in Arrow IPC files, ``clips-00000.arrow`` and so on.

Beside them lie ``_clips.json`` (what the shards hold, which run wrote them, and how many there are if it finished) and
for each shard its rows without the sound, ``_clips-00000.rows``, so that opening a store on S3 fetches no sound.
Each file is written under another name and renamed when it is whole, so a kill loses the shard in work alone.
"""

import itertools
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from querysep.data.store.places import Bucket, Folder, Options, import_arrow, place_errors, place_of
from querysep.errors import DataError

Schema: TypeAlias = Any
"""A ``pyarrow.Schema``; Arrow is imported when a store is used, not before."""

Version: TypeAlias = tuple[str, int]
"""The run that wrote the shards, and how many of them."""

METADATA = b"querysep"
FORMAT = 1
_KIND, _RUN, _WRITER, _COMPLETE, _FORMAT, _FIRST_ROW = "kind", "run", "writer", "complete", "format", "first_row"
_OWN = {_KIND, _RUN, _WRITER, _COMPLETE, _FORMAT}


def open_shards(
    location: str | Path, kind: str, options: Options | None = None, version: Version | None = None
) -> "Shards | None":
    """Open the shards of a kind; None where there are none.

    Args:
        location: a folder or ``s3://bucket/prefix``.
        kind: what the rows are, such as ``clips``.
        options: of S3.
        version: take the shards that another process saw; None: all.

    Raises:
        DataError: they are damaged or cannot be reached, that version is gone, or an older querysep wrote them.
    """
    place = place_of(location, options)
    state = _read_state(place, kind)
    if state is None:
        with place_errors(place.address, "read"):
            old = f"{kind}.lance" in place.names()
        if old or str(location).endswith(".lance"):
            again = "`querysep data pack`" if kind == "clips" else "`querysep mine`"
            raise DataError(f"The {kind} in '{location}' were written by an older querysep. Make them again: {again}.")
        return None
    return Shards(place, kind, state, version)


def sound_array(sounds: Sequence[NDArray[np.int16] | None]) -> Any:
    """Return the Arrow array of sounds; None where there is none."""
    pa = import_arrow()
    lengths = [0 if sound is None else len(sound) for sound in sounds]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    samples = np.concatenate([np.zeros(0, np.int16), *(sound for sound in sounds if sound is not None)])
    missing = pa.array([sound is None for sound in sounds], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(samples), mask=missing)


class Shards:
    """Shards of a kind for reading; see ``open_shards``.

    Attributes:
        address: of the place.
        facts: what the writer said of the rows, such as their sample rate.
        version: the run, and how many shards there are.
        columns: names of all columns but the sound; none where there are no shards.
        complete: whether the run finished.
    """

    def __init__(
        self, place: Folder | Bucket, kind: str, state: Mapping[str, Any], version: Version | None = None
    ) -> None:
        self._place, self._kind, self.address = place, kind, place.address
        self.facts = _facts(state)
        there = _count(place, kind)
        run, count = version or (str(state[_RUN]), there)
        if run != state[_RUN] or count > there:
            raise DataError(f"The {kind} in '{place.address}' were written anew since they were opened. Start again.")
        self.version = run, count
        self.complete = state[_COMPLETE] == count
        self.columns: tuple[str, ...] = ()
        if count:
            with self._file(_rows_name(kind, 0)) as reader:
                self.columns = tuple(reader.schema.names)

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, int, Any]]:
        """Give the rows without their sound.

        Args:
            columns: that are wanted.

        Returns:
            Number of a shard, number of a batch in it, and the ``pyarrow.RecordBatch``, one by one.

        Raises:
            DataError: they are damaged.
        """
        rows = 0
        for shard in range(self.version[1]):
            with self._file(_rows_name(self._kind, shard), rows) as reader:
                batches = [reader.get_batch(number).select(columns) for number in range(reader.num_record_batches)]
            for number, batch in enumerate(batches):
                rows += batch.num_rows
                yield shard, number, batch

    def sound(self, shard: int) -> list[tuple[NDArray[np.int32], NDArray[np.int16]]]:
        """Map the sound of a shard into memory.

        Returns:
            For each batch the first sample of each row, with the end of the last; and the samples of all rows.

        Raises:
            DataError: the shard is damaged.
        """
        with self._file(_rows_name(self._kind, shard)) as rows, self._file(_name(self._kind, shard)) as reader:
            if reader.schema.metadata != rows.schema.metadata:  # two writers on S3 at the same instant
                raise ValueError("it does not belong to the rows beside it; make all of them again")
            batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            sounds = [batch.column(batch.num_columns - 1) for batch in batches]
            return [(one.offsets.to_numpy(), one.values.to_numpy(zero_copy_only=True)) for one in sounds]

    @contextmanager
    def _file(self, name: str, first_row: int | None = None) -> Iterator[Any]:
        """Open a file of this run; what was read from it stays when it is closed."""
        ipc = import_arrow().ipc
        with place_errors(f"{self.address}/{name}", "read"), self._place.map(name, self.version[0]) as source:
            reader = ipc.open_file(source, options=ipc.IpcReadOptions(use_threads=False))
            facts = json.loads((reader.schema.metadata or {})[METADATA])
            if facts[_RUN] != self.version[0] or first_row not in (None, facts[_FIRST_ROW]):
                raise ValueError("it is of another run than the rest; make all of them again")
            yield reader


class Sounds:
    """Random access to the sound of rows, in any process.

    Args:
        shards: that hold it.
        rows: number of the shard, of the batch in it, and of the row in that; shape (row, 3).
    """

    def __init__(self, shards: Shards, rows: NDArray[np.int32]) -> None:
        self._shards, self._rows = shards, rows
        self._mapped: dict[int, list[tuple[NDArray[np.int32], NDArray[np.int16]]]] = {}

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Return sound of a row, see ``Recordings.read``: a view of the shard, which cannot be written to.

        Raises:
            DataError: the shard is damaged or cannot be fetched.
        """
        shard, batch, row = self._rows[index].tolist()
        if shard not in self._mapped:
            self._mapped[shard] = self._shards.sound(shard)
        offsets, samples = self._mapped[shard][batch]
        first, end = int(offsets[row]), int(offsets[row + 1])
        first = min(first + start, end)
        sound: NDArray[np.int16] = samples[first : end if count is None else min(first + count, end)]
        return sound


class ShardWriter:
    """Writes shards, alone; what was begun goes on.

    Args:
        location: a folder or ``s3://bucket/prefix``.
        kind: what the rows are.
        schema: of the rows; its last column is the sound.
        facts: what readers must know, such as the sample rate.
        options: of S3.

    Attributes:
        address: of the place.
        rows: how many there are.

    Raises:
        DataError: another process writes there, or what lies there is damaged.
        OutputError: the place cannot be written to.
    """

    def __init__(
        self, location: str | Path, kind: str, schema: Schema, facts: Mapping[str, Any], options: Options | None = None
    ) -> None:
        self._place, self._kind, self._schema, self._new_facts = place_of(location, options), kind, schema, dict(facts)
        self.address = self._place.address
        try:
            self._lock = self._place.lock(f".{kind}.lock")
        except BlockingIOError as error:
            raise self._two_writers() from error
        try:
            state = _read_state(self._place, kind)
            if state is None and _count(self._place, kind):
                raise DataError(
                    f"'{self._place.address}' has {kind} without '{_state_name(kind)}'. Choose another place."
                )
            self._state = dict(state or self._new_state())
            self._state[_WRITER] = uuid.uuid4().hex
            self._write_state()
            self._drop_what_a_killed_writer_left()
            there = self.there()
            self._shards = there.version[1]
            self.rows = sum(batch.num_rows for _, _, batch in there.batches(there.columns[:1]))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def facts(self) -> dict[str, Any]:
        """What was written down of the rows that are there."""
        return _facts(self._state)

    @property
    def complete(self) -> bool:
        """Whether the rows are all that there shall be."""
        return bool(self._state[_COMPLETE] == self._shards)

    def there(self) -> Shards:
        """Return the shards that are there."""
        return Shards(self._place, self._kind, self._state)

    def start_over(self) -> None:
        """Begin anew; finished shards are moved to a folder there, such as ``clips-1``, others are removed.

        Raises:
            DataError: the shards cannot be moved or removed.
        """
        self._alone()
        aside = next(
            name
            for name in (f"{self._kind}-{number}" for number in itertools.count(1))
            if _read_state(self._place.inner(name), self._kind) is None
        )
        # From the last one on, and the facts in the end: what a kill leaves is the beginning of an unfinished run.
        names = [name(self._kind, number) for number in reversed(range(self._shards)) for name in (_name, _rows_name)]
        names.append(_state_name(self._kind))
        with place_errors(self._place.address, "written"):
            for name in names:
                if self.complete:
                    self._place.move(name, aside)
                else:
                    self._place.remove(name)
        self._state, self._shards, self.rows = {**self._new_state(), _WRITER: self._state[_WRITER]}, 0, 0
        self._write_state()

    def append(self, batches: Iterable[Any]) -> None:
        """Write a shard.

        Args:
            batches: ``pyarrow.RecordBatch`` of the schema, taken one by one.

        Raises:
            DataError: the shard cannot be written, or another process writes as well.
            OutputError: the disk is full or cannot be written to.
        """
        following = iter(batches)
        first = next(following, None)
        if first is None:
            return
        self._alone()
        facts = {name: value for name, value in self._state.items() if name != _COMPLETE} | {_FIRST_ROW: self.rows}
        schema = self._schema.with_metadata({METADATA: json.dumps(facts).encode()})
        last, rows = len(schema) - 1, 0
        with (
            self._place.writing(_name(self._kind, self._shards)) as path,  # gets its name last
            self._place.writing(_rows_name(self._kind, self._shards)) as rows_path,
            _ipc_file(path, schema) as shard,
            _ipc_file(rows_path, schema.remove(last)) as without_sound,
        ):
            for batch in itertools.chain([first], following):
                shard.write_batch(batch)
                without_sound.write_batch(batch.remove_column(last))
                rows += batch.num_rows
        self._alone()
        self._shards, self.rows = self._shards + 1, self.rows + rows

    def finish(self) -> None:
        """Mark the shards complete.

        Raises:
            DataError: another process writes as well.
        """
        self._alone()
        if not self.complete:
            self._state[_COMPLETE] = self._shards
            self._write_state()

    def close(self) -> None:
        """Let others write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _new_state(self) -> dict[str, Any]:
        own = {_KIND: self._kind, _FORMAT: FORMAT, _RUN: uuid.uuid4().hex, _WRITER: "", _COMPLETE: None}
        return {**own, **self._new_facts}

    def _write_state(self) -> None:
        with place_errors(self._place.address, "written"):
            self._place.write(_state_name(self._kind), json.dumps(self._state, indent=1).encode())

    def _alone(self) -> None:
        state = _read_state(self._place, self._kind)
        if state is None or state[_WRITER] != self._state[_WRITER]:
            raise self._two_writers()

    def _two_writers(self) -> DataError:
        return DataError(
            f"Another process writes {self._kind} to '{self._place.address}' as well. Let only one run, then start "
            "this one again: it goes on."
        )

    def _drop_what_a_killed_writer_left(self) -> None:
        with place_errors(self._place.address, "written"):
            for name in self._place.names():
                if name.startswith((f".{self._kind}-", f"._{self._kind}")) and name.endswith(".part"):
                    self._place.remove(name)


@contextmanager
def _ipc_file(path: Path, schema: Schema) -> Iterator[Any]:
    pa = import_arrow()
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        yield writer


def _name(kind: str, shard: int) -> str:
    return f"{kind}-{shard:05}.arrow"


def _rows_name(kind: str, shard: int) -> str:
    return f"_{kind}-{shard:05}.rows"


def _state_name(kind: str) -> str:
    return f"_{kind}.json"  # Arrow's data sets leave out names that begin so


def _read_state(place: Folder | Bucket, kind: str) -> dict[str, Any] | None:
    """Return what was written down beside the shards; None where there is nothing."""
    where = f"{place.address}/{_state_name(kind)}"
    with place_errors(where, "read"):
        text = place.read(_state_name(kind))
        if text is None:
            return None
        state = json.loads(text)
        if not isinstance(state, dict) or state.get(_KIND) != kind or not _OWN.issubset(state):
            raise ValueError(f"it does not tell of {kind} of querysep")
    if state[_FORMAT] != FORMAT:
        raise DataError(f"'{where}' is of format {state[_FORMAT]}; this querysep reads format {FORMAT}. Update it.")
    return state


def _facts(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in _OWN}


def _count(place: Folder | Bucket, kind: str) -> int:
    """Return how many shards there are.

    Raises:
        DataError: one is missing before the last, or the place cannot be reached.
    """
    with place_errors(place.address, "read"):
        names = place.names()
    numbers = sorted(
        int(found[1]) for found in (re.fullmatch(rf"{kind}-(\d{{5,}})\.arrow", one) for one in names) if found
    )
    missing = set(range(len(numbers))).difference(numbers)
    if missing:
        raise DataError(f"The file '{place.address}/{_name(kind, min(missing))}' is missing.")
    return len(numbers)
