"""The store of clips: the manifest's rows and their sound in one Lance table, with random access."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import ClipTable, Split
from querysep.data.store_sound import SoundReader, Spans, sound_field, spans_of
from querysep.data.store_table import (
    Dataset,
    Options,
    Schema,
    facts_of,
    has_table,
    is_complete,
    is_local,
    open_table,
    table_errors,
    table_uri,
)
from querysep.errors import DataError

TABLE = "clips"
SOUND, PROBLEM = "sound", "problem"
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def clip_schema() -> Schema:
    """Return the schema of the table of clips: the fields of ``Clip``, then sound and problem.

    A clip that could not be read has no sound, and says why in ``problem``.
    """
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("row", pa.int64()),
            pa.field("start_s", pa.float64(), nullable=False),
            pa.field("labels", pa.list_(pa.string()), nullable=False),
            pa.field("duration_s", pa.float64(), nullable=False),
            pa.field("licence", pa.string(), nullable=False),
            pa.field("source", pa.string(), nullable=False),
            pa.field("origin", pa.string(), nullable=False),
            pa.field("split", pa.string(), nullable=False),
            pa.field("held_out", pa.bool_(), nullable=False),
            pa.field(PROBLEM, pa.string()),
            sound_field(SOUND),
        ]
    )


def is_store(location: str | Path) -> bool:
    """Tell whether a place is a store of clips; an address of an object store always is meant to be one."""
    uri = table_uri(location, TABLE)
    return not is_local(uri) or (Path(uri) / "_versions").is_dir()


class ClipStore:
    """Clips of a store: ``Recordings`` for any number of processes.

    Args:
        location: a folder or ``s3://bucket/prefix``, or the table in it.
        split: take one split only.
        options: of the object store.
        version: of the table; None: the latest.

    Attributes:
        complete: whether packing was finished.
        unreadable: path and problem of clips that could not be read when they were packed.

    Raises:
        DataError: there is no store, or it is damaged.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        split: Split | None = None,
        options: Options | None = None,
        version: int | None = None,
    ) -> None:
        self.uri = table_uri(location, TABLE)
        if version is None and not has_table(self.uri, options):
            raise DataError(f"There is no store of clips in '{location}'. Make one by `querysep data pack`.")
        dataset = open_table(self.uri, options, version)
        self._again = (location, split, options, int(dataset.version))
        self._sample_rate = int(facts_of(dataset, TABLE)["sample_rate"])
        self.complete = is_complete(dataset)
        with table_errors(self.uri, "read"):
            self._clips, spans, self.unreadable = _rows(dataset, split)
        self.sound = SoundReader(dataset, self.uri, SOUND, spans, options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to another process as an address, not as two million rows."""
        return _reopen, self._again

    @property
    def clips(self) -> ClipTable:
        """The rows, in the order in which they were packed."""
        return self._clips

    @property
    def sample_rate(self) -> int:
        """Of all that is read, in Hz."""
        return self._sample_rate

    def samples(self, index: int) -> int:
        """Return how many samples a clip has, without reading them."""
        return self.sound.samples(index)

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of a clip, see ``Recordings.read``."""
        return self.sound.read(index, start, count)


def _reopen(location: str | Path, split: Split | None, options: Options | None, version: int) -> ClipStore:
    return ClipStore(location, split=split, options=options, version=version)


def _rows(dataset: Dataset, split: Split | None) -> tuple[ClipTable, Spans, list[tuple[str, str]]]:
    """Read everything but the sound, batch by batch."""
    import pyarrow as pa

    if split is not None and split not in _SPLITS:
        raise DataError(f"'{split}' is no split. There are: {', '.join(_SPLITS)}.")
    clips, spans, unreadable = ClipTable(), [], []
    scanner = dataset.scanner(with_row_address=True, filter=f"split = '{split}'" if split else None)
    for batch in scanner.to_batches():
        table = pa.Table.from_batches([batch])
        problems = table[PROBLEM].to_pylist()
        spans.append(spans_of(table, SOUND).take(np.flatnonzero([problem is None for problem in problems])))
        for row in table.drop_columns([SOUND, "_rowaddr"]).to_pylist():
            problem = row.pop(PROBLEM)
            if problem is None:
                clips.add(**{**row, "labels": tuple(row["labels"])})
            else:
                unreadable.append((row["path"], problem))
    return clips, Spans.joined(spans), unreadable
