"""Writing a catalog of anchor segments: shard by shard, resumable, by one process at a time."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, get_origin

import numpy as np
from numpy.typing import NDArray

from querysep.anchors.catalog import KEY, KIND, LATENT, Anchor, CatalogFacts
from querysep.data.store.places import Options, import_arrow
from querysep.data.store.shards import Schema, ShardWriter, sound_array
from querysep.errors import DataError

_BATCH = 256  # rows


class CatalogWriter:
    """Writes a catalog; one that was begun with the same facts goes on, another one is put aside.

    Args:
        location: a store (folder or ``s3://bucket/prefix``).
        sample_rate: of the segments, Hz.
        segment_time: samples of a segment.
        latent_dim: values of a latent embedding.
        detector: content hash of the detector.
        settings: of mining, what JSON can hold; other settings mean another catalog.
        options: of S3.

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
        import_arrow()
        self._schema = _schema(latent_dim)
        self._writer = ShardWriter(location, KIND, self._schema, self.facts.model_dump(), options)
        try:
            self.put_aside: CatalogFacts | None = None
            found, there = CatalogFacts.model_validate(self._writer.facts), self._writer.there()
            if found != self.facts or there.columns not in ((), tuple(self._schema.names[:-1])):
                self.put_aside = found
                self._writer.start_over()
                there = self._writer.there()
            self.done: set[str] = set()
            for _, _, batch in there.batches([KEY]):
                self.done.update(batch[KEY].to_pylist())
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
        return self._writer.complete

    def append(
        self,
        rows: Sequence[Anchor],
        audio: NDArray[np.int16],
        latents: NDArray[np.float32],
        clip_keys: Collection[str],
    ) -> None:
        """Add all anchors of some clips, as one shard.

        Args:
            rows: the anchors; the key of each one's clip is its ``clip``.
            audio: shape (anchor, time).
            latents: shape (anchor, latent_dim).
            clip_keys: of all clips that were mined for this, those without anchors as well.

        Raises:
            DataError: it cannot be written, another process writes, or a clip was mined before.
            OutputError: the disk is full or cannot be written to.
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
            pa.array(keys, pa.string()) if field.name == KEY else pa.nulls(len(keys), field.type)
            for field in list(self._schema)[:-1]
        ]
        columns.append(sound_array([None] * len(keys)))
        return pa.record_batch(columns, schema=self._schema)


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
        fields.append(pa.field(name, kind, nullable=name != KEY))
    fields.append(pa.field(LATENT, pa.list_(pa.float32(), latent_dim)))
    fields.append(pa.field("audio", pa.list_(pa.int16())))
    return pa.schema(fields)
