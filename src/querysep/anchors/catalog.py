"""The catalog of anchor segments: a Lance table with their rows, sound and latent embeddings."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from querysep.data.manifest import Clip, Split
from querysep.data.store_sound import SAMPLE, SoundReader, spans_of
from querysep.data.store_table import (
    Options,
    facts_of,
    has_table,
    is_complete,
    open_table,
    table_errors,
    table_uri,
)
from querysep.dsp.mixing import Play
from querysep.errors import DataError

TABLE = "anchors"
KEY, LATENT, AUDIO = "clip", "latent", "audio"
_IN_MEMORY = 1 << 30
BATCH = 256  # rows


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
        plain: how many of the anchors, from the first, are as they were mined; here all of them.
        noisy: latent embeddings of these anchors with noise, same shape as ``latents``; here None.
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
        self.plain = len(self.anchors)
        self.noisy: NDArray[np.float32] | None = None
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

    def play(self, index: int) -> Play:
        """Return how the sound of ``audio`` is played to be this anchor; here as it was recorded."""
        return Play(self.anchors[index].sounding)

    def wave(self, index: int) -> NDArray[np.float32]:
        """Return the sounding samples of one anchor, shape (time,), -1..1; raises what ``audio`` raises."""
        sounding = self.audio([index])[0][: self.anchors[index].sounding]
        return np.asarray(sounding.astype(np.float32) / np.float32(32768.0))


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
        table = dataset.to_table(columns=[*names, LATENT, AUDIO], filter="label is not null", with_row_address=True)
    try:
        anchors = [Anchor(**row) for row in table.select(names).to_pylist()]
    except ValidationError as error:
        raise DataError(f"The anchor catalog in '{location}' is damaged ({error.errors()[0]['msg']}).") from error
    flat = table[LATENT].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    latents = flat.astype(np.float32, copy=False).reshape(len(anchors), facts.latent_dim)
    reader = SoundReader(dataset, uri, AUDIO, spans_of(table, AUDIO), options)
    size = len(anchors) * facts.segment_time * SAMPLE.itemsize
    return Catalog(anchors, latents, _all(reader, len(anchors), facts) if size <= in_memory else reader, facts)


def _all(reader: SoundReader, count: int, facts: CatalogFacts) -> NDArray[np.int16]:
    audio = np.zeros((count, facts.segment_time), np.int16)
    for first in range(0, count, BATCH):
        rows = range(first, min(count, first + BATCH))
        audio[rows.start : rows.stop] = np.stack(reader.read_many([(row, 0, None) for row in rows]))
    return audio
