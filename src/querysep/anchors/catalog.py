"""The catalog of anchor segments: a Lance table with their rows, sound and latent embeddings."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_origin

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from querysep.data.manifest import Clip, Split
from querysep.data.store_sound import SAMPLE, SoundReader, sound_array, sound_field, spans_of
from querysep.data.store_table import (
    Options,
    Schema,
    TableWriter,
    facts_of,
    has_table,
    is_complete,
    load_lance,
    open_table,
    table_errors,
    table_uri,
)
from querysep.errors import DataError

TABLE = "anchors"
_KEY, _LATENT, _AUDIO = "clip", "latent", "audio"
_IN_MEMORY = 1 << 30
_BATCH = 256  # rows


class Anchor(BaseModel):
    """One mined segment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(description="the class it was mined for")
    labels: tuple[str, ...] = Field(description="all labels of its clip, ancestors of the class among them")
    heard: tuple[str, ...] = Field(
        default=(), description="labels of its clip that no more specific one of them implies"
    )
    clip: str = Field(description="key of its clip: path, and row or start where a file holds several clips")
    origin: str = Field(description="recordings of one origin are never on both sides of a split")
    split: Split = Field(default="train", description="of its clip")
    start_s: float = Field(ge=0, description="in its clip")
    sounding: int = Field(gt=0, description="samples of the clip in the segment; zeros follow")
    score: float = Field(ge=0, le=1, description="mean presence of the class in it")
    purity: float = Field(ge=0, le=1, description="how little else is present: 1 where no unrelated class is")


class CatalogFacts(BaseModel):
    """What a catalog says of itself; anchors of different facts are never in one catalog."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    sample_rate: int = Field(gt=0, description="Hz")
    segment_time: int = Field(gt=0, description="samples of a segment")
    latent_dim: int = Field(gt=0, description="values of a latent embedding")
    detector: str = Field(description="content hash of the detector that mined")
    settings: str = Field(description="JSON of the settings of mining, keys sorted")


def clip_key(clip: Clip) -> str:
    """Return the name of a clip in a catalog: its path, and its place where a file holds several clips."""
    row = "" if clip.row is None else f"#{clip.row}"
    start = f"@{clip.start_s}" if clip.start_s else ""
    return f"{clip.path}{row}{start}"


class Catalog:
    """Anchors and latent embeddings in memory; the sound as well where it is small, else read when asked for.

    Attributes:
        anchors: the rows.
        latents: shape (anchor, latent_dim), float32.
        facts: what holds for all of them.
    """

    def __init__(
        self,
        anchors: Sequence[Anchor],
        latents: NDArray[np.float32],
        audio: "NDArray[np.int16] | SoundReader",
        facts: CatalogFacts,
    ) -> None:
        self.anchors = tuple(anchors)
        self.latents = latents
        self.facts = facts
        self._audio = audio

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self.facts.sample_rate

    @property
    def detector(self) -> str:
        """Content hash of the detector that mined."""
        return self.facts.detector

    @property
    def segment_time(self) -> int:
        """Samples of a segment."""
        return self.facts.segment_time

    def audio(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int16]:
        """Return segments.

        Args:
            indices: of the anchors.

        Returns:
            Samples, shape (index, time); zeros follow the sounding ones.

        Raises:
            DataError: the table cannot be read.
        """
        if isinstance(self._audio, np.ndarray):
            segments: NDArray[np.int16] = self._audio[np.asarray(indices, dtype=np.int64)]
            return segments
        parts = self._audio.read_many([(int(index), 0, None) for index in indices])
        return np.stack(parts) if parts else np.zeros((0, self.segment_time), np.int16)


class CatalogWriter:
    """Writes a catalog; one that was begun with the same facts goes on, another one is put aside.

    Args:
        location: a store (folder or ``s3://bucket/prefix``), or the table itself (``.../name.lance``).
        sample_rate: of the segments, Hz.
        segment_time: samples of a segment.
        latent_dim: values of a latent embedding.
        detector: content hash of the detector.
        settings: of mining, what JSON can hold; other settings mean another catalog.
        options: of the object store.

    Attributes:
        done: keys of the clips that were mined, those without anchors among them.
        put_aside: facts of the catalog of other facts that lay here, or None.

    Raises:
        DataError: another process mines into it, or it cannot be written.
    """

    def __init__(
        self,
        location: str | Path,
        *,
        sample_rate: int,
        segment_time: int,
        latent_dim: int,
        detector: str,
        settings: Mapping[str, Any],
        options: Options | None = None,
    ) -> None:
        self.facts = CatalogFacts(
            sample_rate=sample_rate,
            segment_time=segment_time,
            latent_dim=latent_dim,
            detector=detector,
            settings=json.dumps(settings, sort_keys=True),
        )
        load_lance()
        self._schema = _schema(latent_dim)
        self._writer = TableWriter(table_uri(location, TABLE), TABLE, self._schema, self.facts.model_dump(), options)
        self.put_aside: CatalogFacts | None = None
        found = CatalogFacts.model_validate(self._writer.facts)
        if found != self.facts or set(self._writer.dataset.schema.names) != set(self._schema.names):
            self.put_aside = found
            self._writer.start_over()
        self.done = self._keys()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def complete(self) -> bool:
        """Whether it was finished."""
        return self._writer.complete

    def append(
        self,
        rows: Sequence[Anchor],
        audio: NDArray[np.int16],
        latents: NDArray[np.float32],
        clip_keys: Collection[str],
    ) -> None:
        """Add all anchors of some clips, as one commit.

        Args:
            rows: the anchors; the key of each one's clip is its ``clip``.
            audio: shape (anchor, time).
            latents: shape (anchor, latent_dim).
            clip_keys: of all clips that were mined for this, those without anchors as well.

        Raises:
            DataError: it cannot be written, another process writes, or a clip was mined before.
        """
        keys = list(dict.fromkeys(clip_keys))
        again = self.done.intersection(keys)
        stray = {row.clip for row in rows}.difference(keys)
        if again or stray:
            reason = "was mined before" if again else "is not among the keys"
            raise DataError(f"The clip '{min(again or stray)}' {reason}.")
        if audio.shape != (len(rows), self.facts.segment_time) or latents.shape != (len(rows), self.facts.latent_dim):
            raise DataError(f"{len(rows)} anchors came with sound {audio.shape} and embeddings {latents.shape}.")
        if not keys:
            return
        batches = [
            self._batch(rows[first : first + _BATCH], audio[first : first + _BATCH], latents[first : first + _BATCH])
            for first in range(0, len(rows), _BATCH)
        ]
        without = set(keys).difference(row.clip for row in rows)
        if without:
            batches.append(self._empty_batch([key for key in keys if key in without]))
        self._writer.append(batches)
        self.done.update(keys)

    def finish(self) -> None:
        """Mark the catalog complete."""
        self._writer.finish()

    def close(self) -> None:
        """Let others write."""
        self._writer.close()

    def _batch(self, rows: Sequence[Anchor], audio: NDArray[np.int16], latents: NDArray[np.float32]) -> Any:
        import pyarrow as pa

        values = [row.model_dump(mode="python") for row in rows]
        columns = [
            pa.array([value[name] for value in values], self._schema.field(name).type) for name in Anchor.model_fields
        ]
        flat = pa.array(np.ascontiguousarray(latents, np.float32).reshape(-1))
        columns.append(pa.FixedSizeListArray.from_arrays(flat, self.facts.latent_dim))
        columns.append(sound_array(list(audio)))
        return pa.record_batch(columns, schema=self._schema)

    def _empty_batch(self, keys: Sequence[str]) -> Any:
        import pyarrow as pa

        columns = [
            pa.array(keys, pa.string()) if field.name == _KEY else pa.nulls(len(keys), field.type)
            for field in list(self._schema)[:-1]
        ]
        columns.append(sound_array([None] * len(keys)))
        return pa.record_batch(columns, schema=self._schema)

    def _keys(self) -> set[str]:
        with table_errors(self._writer.uri, "read"):
            column = self._writer.dataset.to_table(columns=[_KEY])[_KEY]
        return set(column.to_pylist())


def read_catalog(
    location: str | Path, *, options: Options | None = None, unfinished: bool = False, in_memory: int = _IN_MEMORY
) -> Catalog:
    """Read a catalog.

    Args:
        location: a store, or the table itself.
        options: of the object store.
        unfinished: whether a catalog whose mining was cut short will do.
        in_memory: bytes of sound up to which all of it is read now.

    Returns:
        The catalog.

    Raises:
        DataError: missing, unfinished or damaged.
    """
    uri = table_uri(location, TABLE)
    if not has_table(uri, options):
        raise DataError(f"There is no anchor catalog in '{location}'. Run `querysep mine`.")
    dataset = open_table(uri, options)
    facts = CatalogFacts.model_validate(facts_of(dataset, TABLE))
    if not unfinished and not is_complete(dataset):
        raise DataError(f"There is no finished anchor catalog in '{location}'. Run `querysep mine` again; it goes on.")
    names = [name for name in Anchor.model_fields if name in dataset.schema.names]
    with table_errors(uri, "read"):
        table = dataset.to_table(columns=[*names, _LATENT, _AUDIO], filter="label is not null", with_row_address=True)
    try:
        anchors = [Anchor(**row) for row in table.select(names).to_pylist()]
    except ValidationError as error:
        raise DataError(f"The anchor catalog in '{location}' is damaged ({error.errors()[0]['msg']}).") from error
    flat = table[_LATENT].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    latents = flat.astype(np.float32, copy=False).reshape(len(anchors), facts.latent_dim)
    reader = SoundReader(dataset, uri, _AUDIO, spans_of(table, _AUDIO), options)
    size = len(anchors) * facts.segment_time * SAMPLE.itemsize
    return Catalog(anchors, latents, _all(reader, len(anchors), facts) if size <= in_memory else reader, facts)


def _all(reader: SoundReader, count: int, facts: CatalogFacts) -> NDArray[np.int16]:
    audio = np.zeros((count, facts.segment_time), np.int16)
    for first in range(0, count, _BATCH):
        rows = range(first, min(count, first + _BATCH))
        audio[rows.start : rows.stop] = np.stack(reader.read_many([(row, 0, None) for row in rows]))
    return audio


def _schema(latent_dim: int) -> Schema:
    """Return the schema: the fields of ``Anchor``, embedding and sound.

    A clip without anchors has one row with its key alone.
    """
    import pyarrow as pa

    kinds: dict[Any, Any] = {float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
    fields = []
    for name, field in Anchor.model_fields.items():
        several = get_origin(field.annotation) is tuple
        kind = pa.list_(pa.string()) if several else kinds.get(field.annotation, pa.string())
        fields.append(pa.field(name, kind, nullable=name != _KEY))
    fields.append(pa.field(_LATENT, pa.list_(pa.float32(), latent_dim)))
    fields.append(sound_field(_AUDIO))
    return pa.schema(fields)
