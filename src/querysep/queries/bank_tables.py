"""The Lance tables of a user's bank: the sounds, and for each detector the embeddings that it made of them.

Any number of processes may write at once. Adding is one atomic append, which never conflicts with another; removing is
tried again by Lance when another process was faster. Two processes that add the same sound at the same moment leave it
twice; so it is told apart by its key, and counts once.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from querysep.data.store_table import FACTS, Dataset, Options, Schema, facts_of, find_table, load_lance, table_errors
from querysep.errors import ConfigError, DataError
from querysep.io.bank_file import KeptSound
from querysep.queries.condition import Example

PLACE_VARIABLE = "QUERYSEP_BANK"
_SOUNDS, _EMBEDDINGS = "bank sounds", "bank embeddings"
_READERS_NEED = timedelta(hours=1)  # an older version may still be open in another process
_BATCH_ROWS = 100


def bank_place(given: str | Path | None = None) -> str:
    """Return where the user's bank lies: as given, in QUERYSEP_BANK, or in the platform's data folder.

    Raises:
        ConfigError: the extra is not installed.
    """
    place = str(given or os.environ.get(PLACE_VARIABLE, ""))
    if place:
        return place.rstrip("/") or place
    try:
        import platformdirs
    except ImportError as error:
        raise ConfigError("A bank needs the extra 'data': pip install 'querysep[data]'.") from error
    return str(platformdirs.user_data_path("querysep", appauthor=False) / "bank")


@dataclass(frozen=True)
class SoundFacts:
    """What the table tells of a sound without reading it."""

    name: str
    source: str
    added: str
    key: str
    duration_s: float


class BankTables:
    """The tables of one bank; it is made by the first sound that is added.

    Args:
        place: a folder or ``s3://bucket/prefix``.
        options: of the object store.

    Raises:
        ConfigError: Lance is not installed.
    """

    def __init__(self, place: str, options: Options | None = None) -> None:
        load_lance()
        self.place = place
        self._options = dict(options) if options else None

    def facts(self) -> list[SoundFacts]:
        """Tell of all sounds, oldest first.

        Raises:
            DataError: the bank cannot be read.
        """
        dataset = self._find(self._uri("sounds"), _SOUNDS)
        if dataset is None:
            return []
        columns = ["name", "source", "added", "key", "duration_s"]
        with table_errors(self.place, "read"):
            rows = dataset.to_table(columns=columns).to_pylist()
        once = {(row["name"], row["key"]): SoundFacts(**row) for row in reversed(rows)}
        return sorted(once.values(), key=lambda sound: (sound.added, sound.name, sound.source))

    def sounds(self, names: Sequence[str]) -> Iterator[KeptSound]:
        """Read the sounds of some entries.

        Raises:
            DataError: the bank cannot be read.
        """
        dataset = self._find(self._uri("sounds"), _SOUNDS)
        if dataset is None or not names:
            return
        seen = set()
        with table_errors(self.place, "read"):
            for batch in dataset.scanner(filter=_one_of("name", names), batch_size=_BATCH_ROWS).to_batches():
                for row in batch.to_pylist():
                    samples = np.frombuffer(row["audio"], "<i2").astype(np.int16)
                    identity = row["name"], row["key"]
                    if identity not in seen:
                        yield KeptSound(
                            row["name"], row["source"], row["added"], row["sample_rate"], row["scale"], samples
                        )
                    seen.add(identity)

    def append(self, sounds: Sequence[KeptSound]) -> None:
        """Add sounds, all or none.

        Raises:
            DataError: the bank cannot be written.
        """
        import pyarrow as pa

        schema = _sounds_schema()
        columns = {
            "name": [sound.name for sound in sounds],
            "source": [sound.source for sound in sounds],
            "added": [sound.added for sound in sounds],
            "key": [sound.key for sound in sounds],
            "duration_s": [len(sound.samples) / sound.sample_rate for sound in sounds],
            "sample_rate": [sound.sample_rate for sound in sounds],
            "scale": [sound.scale for sound in sounds],
            "audio": [sound.samples.astype("<i2").tobytes() for sound in sounds],
        }
        self._append(self._uri("sounds"), _SOUNDS, pa.table(columns, schema=schema))

    def remove(self, names: Sequence[str]) -> None:
        """Remove entries; their sound leaves the disk with the first removal an hour later.

        Raises:
            DataError: the bank cannot be written.
        """
        dataset = self._find(self._uri("sounds"), _SOUNDS)
        if dataset is None:
            return
        with table_errors(self.place, "written"):
            dataset.delete(_one_of("name", names), conflict_retries=20)
            try:
                dataset.optimize.compact_files(materialize_deletions_threshold=0.0)
            except OSError:
                return  # another process removed something at this moment; the next removal tidies up
            dataset.cleanup_old_versions(older_than=_READERS_NEED)

    def embeddings(self, detector: str, keys: Sequence[str]) -> dict[str, Example]:
        """Return what a detector made of sounds, as far as it is kept, by key; the examples have no names.

        Raises:
            DataError: the bank cannot be read.
        """
        dataset = self._find(self._uri(f"embeddings-{detector}"), _EMBEDDINGS)
        if dataset is None or not keys:
            return {}
        with table_errors(self.place, "read"):
            rows = dataset.to_table(filter=_one_of("key", keys)).to_pylist()
        return {
            row["key"]: Example("", row["seconds_used"], torch.tensor(row["vector"]), torch.tensor(row["profile"]))
            for row in rows
        }

    def embedded_keys(self, detector: str) -> set[str]:
        """Tell which sounds have embeddings by a detector.

        Raises:
            DataError: the bank cannot be read.
        """
        dataset = self._find(self._uri(f"embeddings-{detector}"), _EMBEDDINGS)
        if dataset is None:
            return set()
        with table_errors(self.place, "read"):
            return set(dataset.to_table(columns=["key"])["key"].to_pylist())

    def keep_embeddings(self, detector: str, examples: dict[str, Example]) -> None:
        """Keep what a detector made of sounds, by key.

        Raises:
            DataError: the bank cannot be written.
        """
        import pyarrow as pa

        vectors = {key: example.vector.cpu() for key, example in examples.items() if example.vector is not None}
        if not vectors:
            return
        profiles = [examples[key].profile for key in vectors]
        columns: dict[str, list[Any]] = {
            "key": list(vectors),
            "seconds_used": [examples[key].seconds_used for key in vectors],
            "vector": [vector.tolist() for vector in vectors.values()],
            "profile": [profile.tolist() if profile is not None else [] for profile in profiles],
        }
        schema = _embeddings_schema(len(columns["vector"][0]))
        self._append(self._uri(f"embeddings-{detector}"), _EMBEDDINGS, pa.table(columns, schema=schema))

    def forget_embeddings(self, detector: str, keys: Sequence[str]) -> None:
        """Remove embeddings of sounds that are no longer there.

        Raises:
            DataError: the bank cannot be written.
        """
        dataset = self._find(self._uri(f"embeddings-{detector}"), _EMBEDDINGS)
        if dataset is not None and keys:
            with table_errors(self.place, "written"):
                dataset.delete(_one_of("key", keys), conflict_retries=20)

    def nearest(self, detector: str, vector: NDArray[np.float32], count: int) -> list[tuple[str, float]]:
        """Return the keys of the sounds whose embeddings point most nearly the same way, and the cosines.

        Raises:
            DataError: the bank cannot be read.
        """
        dataset = self._find(self._uri(f"embeddings-{detector}"), _EMBEDDINGS)
        if dataset is None:
            return []
        near = {"column": "vector", "q": vector, "k": count, "metric": "cosine"}
        with table_errors(self.place, "read"):
            rows = dataset.to_table(columns=["key", "_distance"], nearest=near).to_pylist()
        best: dict[str, float] = {}
        for row in rows:
            best.setdefault(row["key"], 1.0 - row["_distance"])
        return list(best.items())

    def _uri(self, table: str) -> str:
        return f"{self.place}/{table}.lance"

    def _find(self, uri: str, kind: str) -> Dataset | None:
        dataset = find_table(uri, self._options, None)
        if dataset is not None:
            facts_of(dataset, kind)
        return dataset

    def _append(self, uri: str, kind: str, rows: Any) -> None:
        lance = load_lance()
        if self._find(uri, kind) is None:
            try:
                with table_errors(
                    uri, "written"
                ):  # no retries: mode="create" of two at once may drop rows of the first
                    empty = lance.LanceOperation.Overwrite(rows.schema, [])
                    lance.LanceDataset.commit(uri, empty, storage_options=self._options, max_retries=0)
            except DataError:
                if self._find(uri, kind) is None:  # else another process made it at the same moment
                    raise
        with table_errors(uri, "written"):
            lance.write_dataset(rows, uri, mode="append", storage_options=self._options)


def _sounds_schema() -> Schema:
    import pyarrow as pa

    fields = [
        pa.field("name", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("added", pa.string(), nullable=False),
        pa.field("key", pa.string(), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("sample_rate", pa.int64(), nullable=False),
        pa.field("scale", pa.float64(), nullable=False),
        pa.field("audio", pa.large_binary(), nullable=False),
    ]
    return _of_kind(pa.schema(fields), _SOUNDS)


def _embeddings_schema(dimension: int) -> Schema:
    import pyarrow as pa

    fields = [
        pa.field("key", pa.string(), nullable=False),
        pa.field("seconds_used", pa.float64(), nullable=False),
        pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False),
        pa.field("profile", pa.list_(pa.float32()), nullable=False),
    ]
    return _of_kind(pa.schema(fields), _EMBEDDINGS)


def _of_kind(schema: Schema, kind: str) -> Schema:
    return schema.with_metadata({FACTS: f'{{"kind": "{kind}"}}'.encode()})


def _one_of(column: str, values: Sequence[str]) -> str:
    """Write a filter; names and keys hold no quotes, and what might is doubled."""
    quoted = ", ".join("'" + value.replace("'", "''") + "'" for value in values)
    return f"{column} IN ({quoted})"
