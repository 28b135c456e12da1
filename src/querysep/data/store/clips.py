"""The store of clips: the manifest's rows and their sound, with random access from any process."""

from array import array
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import ClipTable, Split
from querysep.data.store.places import Options, is_local
from querysep.data.store.shards import Schema, Sounds, Version, open_shards
from querysep.errors import DataError

KIND = "clips"
SAMPLES, PROBLEM, SOUND = "samples", "problem", "sound"
_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def clip_schema() -> Schema:
    """Return the schema of the shards of clips: the fields of ``Clip``, then samples, problem and sound.

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
            pa.field(SAMPLES, pa.int64(), nullable=False),
            pa.field(PROBLEM, pa.string()),
            pa.field(SOUND, pa.list_(pa.int16())),
        ]
    )


def is_store(location: str | Path) -> bool:
    """Tell whether a place is a store of clips; an address of an object store always is meant to be one."""
    if not is_local(location):
        return True
    place = Path(location)
    return (place / f"_{KIND}.json").is_file() or (place / f"{KIND}.lance").is_dir()


class ClipStore:
    """Clips of a store: ``Recordings`` for any number of processes.

    Args:
        location: a folder or ``s3://bucket/prefix``.
        split: take one split only.
        options: of S3.
        version: of the store, as another process saw it; None: the latest.

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
        version: Version | None = None,
    ) -> None:
        if split is not None and split not in _SPLITS:
            raise DataError(f"'{split}' is no split. There are: {', '.join(_SPLITS)}.")
        shards = open_shards(location, KIND, options, version)
        if shards is None:
            raise DataError(f"There is no store of clips in '{location}'. Make one by `querysep data pack`.")
        self._again = (shards.address, split, options, shards.version)
        self._sample_rate = int(shards.facts["sample_rate"])
        self.complete = shards.complete
        self.unreadable: list[tuple[str, str]] = []
        self._clips = ClipTable()
        places, lengths = array("i"), array("q")
        for shard, number, batch in shards.batches(shards.columns):
            for row, values in enumerate(batch.to_pylist()):
                problem, samples = values.pop(PROBLEM), values.pop(SAMPLES)
                if split is not None and values["split"] != split:
                    continue
                if problem is not None:
                    self.unreadable.append((values["path"], problem))
                    continue
                self._clips.add(**{**values, "labels": tuple(values["labels"])})
                places.extend((shard, number, row))
                lengths.append(samples)
        self._lengths = np.array(lengths, np.int64)
        self._sounds = Sounds(shards, np.array(places, np.int32).reshape(-1, 3))

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
        return int(self._lengths[index])

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of a clip, see ``Recordings.read``: a view of the shard, which cannot be written to."""
        return self._sounds.read(index, start, count)


def _reopen(location: str, split: Split | None, options: Options | None, version: Version) -> ClipStore:
    return ClipStore(location, split=split, options=options, version=version)
