"""The catalog of anchor segments: their rows, sound and latent embeddings in shards; see docs/store.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from querysep.data.manifest import Clip, Split
from querysep.data.store.places import Options
from querysep.data.store.shards import Sounds, Version, open_shards
from querysep.dsp.mixing import Play
from querysep.errors import DataError

KIND = "anchors"
KEY, LATENT = "clip", "latent"


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
    """Anchors, their latent embeddings and their sound.

    Args:
        anchors: the rows.
        latents: shape (anchor, latent_dim), float32.
        audio: shape (anchor, time).
        facts: what holds for all of them.

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
        audio: NDArray[np.int16],
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
            DataError: the sound cannot be read.
        """
        segments: NDArray[np.int16] = self._audio[np.asarray(indices, dtype=np.int64)]
        return segments

    def play(self, index: int) -> Play:
        """Return how the sound of ``audio`` is played to be this anchor; here as it was recorded."""
        return Play(self.anchors[index].sounding)

    def wave(self, index: int) -> NDArray[np.float32]:
        """Return the sounding samples of one anchor, shape (time,), -1..1; raises what ``audio`` raises."""
        sounding = self.audio([index])[0][: self.anchors[index].sounding]
        return np.asarray(sounding.astype(np.float32) / np.float32(32768.0))


class _StoredCatalog(Catalog):
    """A catalog whose sound stays in the shards, and which goes to another process as an address."""

    def __init__(
        self,
        anchors: Sequence[Anchor],
        latents: NDArray[np.float32],
        sounds: Sounds,
        facts: CatalogFacts,
        again: tuple[Any, ...],
    ) -> None:
        super().__init__(anchors, latents, np.zeros((0, facts.segment_time), np.int16), facts)
        self._sounds, self._again = sounds, again

    def __reduce__(self) -> tuple[Any, ...]:
        """Go to another process as an address."""
        return _read, self._again

    def audio(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int16]:
        """Return segments, see ``Catalog.audio``."""
        segments = np.empty((len(indices), self.segment_time), np.int16)
        for segment, index in zip(segments, indices, strict=True):
            segment[:] = self._sounds.read(int(index))
        return segments


def read_catalog(location: str | Path, *, options: Options | None = None, unfinished: bool = False) -> Catalog:
    """Read a catalog. Its sound stays where it is, and it goes to another process as an address.

    Args:
        location: of a store.
        options: of S3.
        unfinished: whether a catalog whose mining was cut short will do.

    Returns:
        The catalog.

    Raises:
        DataError: missing, unfinished or damaged.
    """
    return _read(location, options, unfinished, None)


def _read(location: str | Path, options: Options | None, unfinished: bool, version: Version | None) -> Catalog:
    shards = open_shards(location, KIND, options, version)
    if shards is None:
        raise DataError(f"There is no anchor catalog in '{location}'. Run `querysep mine`.")
    if not unfinished and not shards.complete:
        raise DataError(f"There is no finished anchor catalog in '{location}'. Run `querysep mine` again; it goes on.")
    facts = CatalogFacts.model_validate(shards.facts)
    names = [name for name in Anchor.model_fields if name in shards.columns]
    anchors: list[Anchor] = []
    latents = [np.zeros((0, facts.latent_dim), np.float32)]
    places = [np.zeros((0, 3), np.int32)]
    for shard, number, batch in shards.batches([*names, LATENT]):
        there = batch["label"].is_valid()
        rows = np.flatnonzero(there.to_numpy(zero_copy_only=False))
        places.append(np.array([np.full_like(rows, shard), np.full_like(rows, number), rows], np.int32).T)
        anchored = batch.filter(there)
        try:
            anchors += [Anchor(**row) for row in anchored.select(names).to_pylist()]
        except ValidationError as error:
            raise DataError(f"The anchor catalog in '{location}' is damaged ({error.errors()[0]['msg']}).") from error
        latents.append(anchored[LATENT].flatten().to_numpy(zero_copy_only=False).reshape(len(rows), facts.latent_dim))
    return _StoredCatalog(
        anchors,
        np.concatenate(latents),
        Sounds(shards, np.concatenate(places)),
        facts,
        (shards.address, options, True, shards.version),
    )
