"""Random access to the sound in a Lance table, from any process.

The samples of a table's rows lie one after the other in files beside the table's data files. In a folder of this
machine they are read from there, with one system call and without Lance, once the first and the last sound were found
to be what Lance reads. Elsewhere (object stores, or a Lance that lays its files out in another way) Lance is asked for
the ranges; where this process was forked from one that used Lance, by a fresh process (see store_apart).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from querysep.data.store_apart import Column, Range, ReaderApart
from querysep.data.store_table import Dataset, Options, is_local
from querysep.errors import DataError

SAMPLE = np.dtype("<i2")
_INLINE, _PACKED = 0, 1  # Lance's kinds of blobs that we write: only an empty one is inline
_PROBE = 4096  # bytes
_BIGGEST = 1 << 50  # bytes: no sound gets a file of its own


def sound_field(name: str) -> Any:
    """Return the Arrow field of a column of samples, int16, little-endian, mono."""
    from lance.blob import blob_field

    return blob_field(name, inline_size_threshold=0, dedicated_size_threshold=_BIGGEST)


def sound_array(sounds: Sequence[NDArray[np.int16] | None]) -> Any:
    """Return the Arrow array of sounds; None where there is no sound."""
    from lance.blob import blob_array

    return blob_array([None if sound is None else sound.astype(SAMPLE, copy=False).tobytes() for sound in sounds])


@dataclass(frozen=True)
class Spans:
    """Where the sounds of rows lie.

    Attributes:
        addresses: of the rows, as Lance counts them: number of the fragment times 2^32, and the row in it.
        files: number of the file in the fragment; 0 where there are no samples.
        positions: first byte in the file.
        sizes: in bytes; -1 where there is no sound.
    """

    addresses: NDArray[np.int64]
    files: NDArray[np.int32]
    positions: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> "Spans":
        """Return the spans of some rows."""
        return Spans(self.addresses[rows], self.files[rows], self.positions[rows], self.sizes[rows])

    @staticmethod
    def joined(parts: "Sequence[Spans]") -> "Spans":
        """Return the spans of all rows of several tables."""
        empty = np.zeros(0, np.int64)
        return Spans(
            np.concatenate([empty, *(part.addresses for part in parts)]),
            np.concatenate([empty.astype(np.int32), *(part.files for part in parts)]),
            np.concatenate([empty, *(part.positions for part in parts)]),
            np.concatenate([empty, *(part.sizes for part in parts)]),
        )


def spans_of(table: Any, column: str) -> Spans:
    """Return the spans of a table that was read with row addresses and without the sound itself.

    Raises:
        DataError: the sound is kept in a way that we do not write.
    """
    import pyarrow.compute as pc

    parts = {
        name: pc.struct_field(table[column], name).combine_chunks() for name in ("kind", "position", "size", "blob_id")
    }
    there = table[column].combine_chunks().is_valid().to_numpy(zero_copy_only=False)
    values = {
        name: part.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
        for name, part in parts.items()
    }
    sizes = np.where(there, values["size"], -1)
    if np.any((sizes > 0) & (values["kind"] != _PACKED)):
        raise DataError("The store's sound is kept in a way that this version cannot read. Pack it again.")
    addresses = table["_rowaddr"].combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64, copy=False)
    return Spans(addresses, values["blob_id"].astype(np.int32), values["position"], sizes)


class SoundReader:
    """Reads the sound of rows.

    Args:
        dataset: the table, as this process opened it.
        uri: of the table.
        column: that holds the sound.
        spans: of the rows that can be asked for.
        options: of the object store.
    """

    def __init__(self, dataset: Dataset, uri: str, column: str, spans: Spans, options: Options | None = None) -> None:
        self._column, self._spans = Column(uri, column, dict(options) if options else None, int(dataset.version)), spans
        self._dataset, self._process = dataset, os.getpid()
        self._apart: ReaderApart | None = None
        self._folders = _folders(dataset, uri) if is_local(uri) else {}
        self.direct = bool(self._folders) and self._agrees_with_lance()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_dataset": None, "_process": 0, "_apart": None}

    def samples(self, row: int) -> int:
        """Return how many samples a row has; 0 where there is no sound."""
        return max(0, int(self._spans.sizes[row])) // SAMPLE.itemsize

    def read(self, row: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of one row, see ``Recordings.read``."""
        return self.read_many([(row, start, count)])[0]

    def read_many(self, wanted: Sequence[tuple[int, int, int | None]]) -> list[NDArray[np.int16]]:
        """Read sound of several rows at once.

        Args:
            wanted: row, first sample, and count of samples or None for all that are left.

        Returns:
            The samples, fewer where the sound ends.

        Raises:
            DataError: the table cannot be read.
        """
        ranges = []
        for row, start, count in wanted:
            samples = self.samples(row)
            first = min(start, samples)
            end = samples if count is None else min(samples, first + count)
            ranges.append((row, first * SAMPLE.itemsize, (end - first) * SAMPLE.itemsize))
        parts = [self._from_file(*part) for part in ranges] if self.direct else self._from_lance(ranges)
        return [np.frombuffer(part, SAMPLE).astype(np.int16, copy=False) for part in parts]

    def _from_file(self, row: int, first: int, size: int) -> bytes:
        if size == 0:
            return b""
        path = self._path(row)
        try:
            handle = os.open(path, os.O_RDONLY)
            try:
                data = os.pread(handle, size, int(self._spans.positions[row]) + first)
            finally:
                os.close(handle)
        except OSError as error:
            raise DataError(f"The store's file '{path}' cannot be read ({error.strerror}).") from error
        if len(data) != size:
            raise DataError(f"The store's file '{path}' is cut off. Pack the clips again.")
        return data

    def _path(self, row: int) -> str:
        name = format(int(self._spans.files[row]), "032b")[::-1]  # Lance's: the number's bits, the lowest first
        return f"{self._folders[int(self._spans.addresses[row]) >> 32]}/{name}.blob"

    def _from_lance(self, ranges: Sequence[tuple[int, int, int]]) -> list[bytes]:
        asked = [(int(self._spans.addresses[row]), first, size) for row, first, size in ranges if size]
        found = iter(self._ask_lance(asked))
        return [next(found) if size else b"" for _, _, size in ranges]

    def _ask_lance(self, asked: Sequence[Range]) -> list[bytes]:
        if self._dataset is None:
            self._dataset, self._process = self._column.open(), os.getpid()
        if self._process == os.getpid():
            return self._column.read(self._dataset, asked)
        if self._apart is None or self._apart.owner != os.getpid():
            self._apart = ReaderApart(self._column)
        return self._apart.read(asked)

    def _agrees_with_lance(self) -> bool:
        """Tell whether the files hold what Lance says, by the first and the last sound."""
        sounding = np.flatnonzero(self._spans.sizes > 0)
        if sounding.size == 0:
            return True
        try:
            for row in (int(sounding[0]), int(sounding[-1])):
                probe = (row, 0, min(_PROBE, int(self._spans.sizes[row])))
                if self._from_file(*probe) != self._from_lance([probe])[0]:
                    return False
        except (DataError, KeyError):
            return False
        return True


def _folders(dataset: Dataset, uri: str) -> dict[int, str]:
    """Return the folder of each fragment's sound."""
    data = Path(uri).absolute() / "data"
    return {
        fragment.fragment_id: str(data / Path(fragment.data_files()[0].path).stem)
        for fragment in dataset.get_fragments()
    }
