"""Packing: clips of any data set into a store, in commits; a packing that was cut short goes on."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import Clip
from querysep.data.recordings import Recordings
from querysep.data.store import PROBLEM, TABLE, clip_schema
from querysep.data.store_sound import sound_array
from querysep.data.store_table import Dataset, Options, load_lance, table_errors, table_uri
from querysep.data.store_writer import TableWriter
from querysep.errors import DataError, QuerysepError
from querysep.progress import Progress, silent

_BATCH_ROWS = 1024
_NAMES = tuple(Clip.model_fields)


@dataclass(frozen=True)
class Commits:
    """How much sound is written before it counts: less is lost at a kill, more makes fewer files.

    Attributes:
        size: bytes of sound in a commit, and so in a file.
        time_s: seconds after which a commit is due, however small.
        batch: bytes of sound held in memory.
    """

    size: int = 512 << 20
    time_s: float = 120.0
    batch: int = 8 << 20


@dataclass(frozen=True)
class Packed:
    """What packing did.

    Attributes:
        uri: of the table.
        clips: clips of the data set.
        added: of them, packed now; the others were there.
        unreadable: of those packed now, path and problem of the ones that could not be read.
    """

    uri: str
    clips: int
    added: int
    unreadable: tuple[tuple[str, str], ...]


def pack(
    recordings: Recordings,
    location: str | Path,
    *,
    options: Options | None = None,
    commits: Commits | None = None,
    progress: Progress = silent,
) -> Packed:
    """Pack clips into a store.

    Args:
        recordings: of any data set.
        location: a folder or ``s3://bucket/prefix``; what was begun there goes on.
        options: of the object store.
        commits: how often what was written counts.
        progress: told after each clip.

    Returns:
        What was done.

    Raises:
        DataError: the store holds other clips, another process packs into it, or it cannot be written.
    """
    load_lance()
    uri = table_uri(location, TABLE)
    schema = clip_schema()
    facts = {"sample_rate": recordings.sample_rate}
    unreadable: list[tuple[str, str]] = []
    with TableWriter(uri, TABLE, schema, facts, options) as writer:
        if writer.facts["sample_rate"] != recordings.sample_rate:
            raise DataError(
                f"The store '{location}' holds sound at {writer.facts['sample_rate']} Hz; asked for "
                f"{recordings.sample_rate} Hz. Give that rate, or another store."
            )
        clips = recordings.clips
        first = _same_so_far(writer.dataset, clips, str(location))
        work = _Packing(recordings, commits or Commits(), schema, unreadable, progress)
        work.next = first
        while work.next < len(clips):
            writer.append(work.commit())
        writer.finish()
    return Packed(uri, len(clips), len(clips) - first, tuple(unreadable))


@dataclass
class _Packing:
    recordings: Recordings
    commits: Commits
    schema: Any
    unreadable: list[tuple[str, str]]
    progress: Progress
    next: int = 0

    def commit(self) -> Iterator[Any]:
        """Give batches until a commit is due."""
        began, size, clips = time.monotonic(), 0, self.recordings.clips
        rows: list[dict[str, Any]] = []
        sounds: list[NDArray[np.int16] | None] = []
        held = 0
        while self.next < len(clips):
            clip = clips[self.next]
            sound, problem = self._read(clip)
            rows.append({**_values(clip), PROBLEM: problem})
            sounds.append(sound)
            held += 0 if sound is None else sound.nbytes
            self.next += 1
            self.progress(self.next, len(clips), "packing clips")
            due = size + held >= self.commits.size or time.monotonic() - began > self.commits.time_s
            if held >= self.commits.batch or len(rows) >= _BATCH_ROWS or due:
                yield self._batch(rows, sounds)
                size, held, rows, sounds = size + held, 0, [], []
            if due:
                return
        if rows:
            yield self._batch(rows, sounds)

    def _read(self, clip: Clip) -> tuple[NDArray[np.int16] | None, str | None]:
        try:
            sound = self.recordings.read(self.next)
        except QuerysepError as error:
            self.unreadable.append((clip.path, str(error)))
            return None, str(error)
        if sound.dtype != np.int16 or sound.ndim != 1:
            raise TypeError(f"recordings gave {sound.dtype} of shape {sound.shape}, not int16 of shape (time,)")
        return sound, None

    def _batch(self, rows: Sequence[dict[str, Any]], sounds: Sequence[NDArray[np.int16] | None]) -> Any:
        import pyarrow as pa

        columns = [pa.array([row[field.name] for row in rows], field.type) for field in list(self.schema)[:-1]]
        return pa.record_batch([*columns, sound_array(sounds)], schema=self.schema)


def _values(clip: Clip) -> dict[str, Any]:
    return {**clip.__dict__, "labels": list(clip.labels)}


def _same_so_far(dataset: Dataset, clips: Sequence[Clip], location: str) -> int:
    """Return how many clips the store holds, after a look whether they are the first ones of the data set.

    Raises:
        DataError: they are not.
    """
    index = 0
    with table_errors(location, "read"):
        for batch in dataset.scanner(columns=list(_NAMES)).to_batches():
            for row in batch.to_pylist():
                if index >= len(clips) or row != _values(clips[index]):
                    wanted = clips[index].path if index < len(clips) else "nothing more"
                    raise DataError(
                        f"The store '{location}' holds other clips than these: as number {index + 1} '{row['path']}', "
                        f"and here is '{wanted}'. Pack into another store."
                    )
                index += 1
    return index
