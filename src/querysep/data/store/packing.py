"""Packing: clips of any data set into a store, shard by shard; a packing that was cut short goes on."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import Clip
from querysep.data.recordings import Recordings
from querysep.data.store.clips import KIND, PROBLEM, SAMPLES, SOUND, clip_schema
from querysep.data.store.places import Options, import_arrow
from querysep.data.store.shards import Shards, ShardWriter, sound_array
from querysep.errors import DataError, QuerysepError
from querysep.progress import Progress, silent

_BATCH_ROWS = 1024
_MOST_SAMPLES = 2**30  # a batch, which holds up to 8 MiB more, has 32-bit places
_NAMES = tuple(Clip.model_fields)


@dataclass(frozen=True)
class ShardSize:
    """When a shard is full: less is lost at a kill where they are small, and there are fewer files where they are big.

    Attributes:
        sound: bytes of sound.
        time_s: seconds after which a shard ends, however small.
        batch: bytes of sound held in memory.
    """

    sound: int = 512 << 20
    time_s: float = 120.0
    batch: int = 8 << 20


@dataclass(frozen=True)
class Packed:
    """What packing did.

    Attributes:
        address: of the store.
        clips: clips of the data set.
        added: of them, packed now; the others were there.
        unreadable: of those packed now, path and problem of the ones that could not be read.
    """

    address: str
    clips: int
    added: int
    unreadable: tuple[tuple[str, str], ...]


def pack(
    recordings: Recordings,
    location: str | Path,
    *,
    options: Options | None = None,
    size: ShardSize | None = None,
    progress: Progress = silent,
) -> Packed:
    """Pack clips into a store.

    Args:
        recordings: of any data set.
        location: a folder or ``s3://bucket/prefix``; what was begun there goes on.
        options: of S3.
        size: of the shards.
        progress: called after each clip.

    Returns:
        What was done.

    Raises:
        DataError: the store holds other clips, another process packs into it, or it cannot be written.
    """
    import_arrow()
    facts = {"sample_rate": recordings.sample_rate}
    unreadable: list[tuple[str, str]] = []
    with ShardWriter(location, KIND, clip_schema(), facts, options) as writer:
        if writer.facts["sample_rate"] != recordings.sample_rate:
            raise DataError(
                f"The store '{location}' holds sound at {writer.facts['sample_rate']} Hz; asked for "
                f"{recordings.sample_rate} Hz. Give that rate, or another store."
            )
        clips = recordings.clips
        first = _same_so_far(writer.there(), clips, str(location))
        work = _Packing(recordings, size or ShardSize(), unreadable, progress, first)
        while work.next < len(clips):
            writer.append(work.shard())
        writer.finish()
        return Packed(writer.address, len(clips), len(clips) - first, tuple(unreadable))


@dataclass
class _Packing:
    recordings: Recordings
    size: ShardSize
    unreadable: list[tuple[str, str]]
    progress: Progress
    next: int

    def shard(self) -> Iterator[Any]:
        """Give batches until a shard is full."""
        began, written, clips = time.monotonic(), 0, self.recordings.clips
        rows: list[dict[str, Any]] = []
        sounds: list[NDArray[np.int16] | None] = []
        held = 0
        while self.next < len(clips):
            clip = clips[self.next]
            sound, problem = self._read(clip)
            rows.append({**_values(clip), SAMPLES: 0 if sound is None else len(sound), PROBLEM: problem})
            sounds.append(sound)
            held += 0 if sound is None else sound.nbytes
            self.next += 1
            self.progress(self.next, len(clips), "packing clips")
            full = written + held >= self.size.sound or time.monotonic() - began > self.size.time_s
            if held >= self.size.batch or len(rows) >= _BATCH_ROWS or full:
                yield _batch(rows, sounds)
                written, held, rows, sounds = written + held, 0, [], []
            if full:
                return
        if rows:
            yield _batch(rows, sounds)

    def _read(self, clip: Clip) -> tuple[NDArray[np.int16] | None, str | None]:
        try:
            sound = self.recordings.read(self.next)
            if len(sound) > _MOST_SAMPLES:
                raise DataError(f"It is longer than the {_MOST_SAMPLES} samples that a store takes. Cut it into clips.")
        except QuerysepError as error:
            self.unreadable.append((clip.path, str(error)))
            return None, str(error)
        if sound.dtype != np.int16 or sound.ndim != 1:
            raise TypeError(f"recordings gave {sound.dtype} of shape {sound.shape}, not int16 of shape (time,)")
        return sound, None


def _batch(rows: Sequence[dict[str, Any]], sounds: Sequence[NDArray[np.int16] | None]) -> Any:
    pa, schema = import_arrow(), clip_schema()
    columns = [pa.array([row[field.name] for row in rows], field.type) for field in schema if field.name != SOUND]
    return pa.record_batch([*columns, sound_array(sounds)], schema=schema)


def _values(clip: Clip) -> dict[str, Any]:
    return {**clip.__dict__, "labels": list(clip.labels)}


def _same_so_far(there: Shards, clips: Sequence[Clip], location: str) -> int:
    """Return how many clips the store holds, if they are the first ones of the data set.

    Raises:
        DataError: they are not.
    """
    index = 0
    for _, _, batch in there.batches(_NAMES):
        for row in batch.to_pylist():
            if index >= len(clips) or row != _values(clips[index]):
                wanted = clips[index].path if index < len(clips) else "nothing more"
                raise DataError(
                    f"The store '{location}' holds other clips than these: as number {index + 1} '{row['path']}', "
                    f"and here is '{wanted}'. Pack into another store."
                )
            index += 1
    return index
