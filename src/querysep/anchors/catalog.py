"""The catalog of anchor segments: one row each, with its sound and its latent embedding."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from querysep.data.manifest import Split
from querysep.errors import DataError

ROWS_NAME, AUDIO_NAME, LATENTS_NAME, ABOUT_NAME = "anchors.jsonl", "audio.npy", "latents.npy", "about.json"


class Anchor(BaseModel):
    """One mined segment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str = Field(description="the class it was mined for")
    labels: tuple[str, ...] = Field(description="all labels of its clip, ancestors of the class among them")
    heard: tuple[str, ...] = Field((), description="labels of its clip that no more specific one of them implies")
    clip: str = Field(description="key of its clip: path, and row or start where a file holds several clips")
    origin: str = Field(description="recordings of one origin are never on both sides of a split")
    split: Split = Field("train", description="of its clip")
    start_s: float = Field(ge=0, description="in its clip")
    sounding: int = Field(gt=0, description="samples of the clip in the segment; zeros follow")
    score: float = Field(ge=0, le=1, description="mean presence of the class in it")
    purity: float = Field(ge=0, le=1, description="how little else is present: 1 where no unrelated class is")


@dataclass(frozen=True)
class Catalog:
    """Anchors in memory; sound and latent embeddings are mapped from disk.

    Attributes:
        anchors: the rows.
        audio: shape (anchor, time), int16.
        latents: shape (anchor, latent_dim), float32.
        sample_rate: in Hz.
        detector: content hash of the detector that mined them.
    """

    anchors: tuple[Anchor, ...]
    audio: NDArray[np.int16]
    latents: NDArray[np.float32]
    sample_rate: int
    detector: str


def write_catalog(folder: Path, catalog: Catalog) -> None:
    """Write a catalog; the file that marks it complete comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / AUDIO_NAME, catalog.audio)
    np.save(folder / LATENTS_NAME, catalog.latents)
    rows = "".join(anchor.model_dump_json() + "\n" for anchor in catalog.anchors)
    (folder / ROWS_NAME).write_text(rows, encoding="utf-8")
    about = json.dumps(
        {"sample_rate": catalog.sample_rate, "detector": catalog.detector, "anchors": len(catalog.anchors)}
    )
    temporary = folder / (ABOUT_NAME + ".part")
    temporary.write_text(about + "\n", encoding="utf-8")
    temporary.replace(folder / ABOUT_NAME)


def read_catalog(folder: Path) -> Catalog:
    """Read a catalog.

    Raises:
        DataError: missing, unfinished or damaged.
    """
    if not (folder / ABOUT_NAME).is_file():
        raise DataError(f"There is no finished anchor catalog in '{folder}'. Run `querysep mine` (it resumes).")
    try:
        about = json.loads((folder / ABOUT_NAME).read_text(encoding="utf-8"))
        lines = (folder / ROWS_NAME).read_text(encoding="utf-8").splitlines()
        anchors = tuple(Anchor.model_validate_json(line) for line in lines)
        audio = np.load(folder / AUDIO_NAME, mmap_mode="r")
        latents = np.load(folder / LATENTS_NAME)
    except (OSError, ValueError, ValidationError, KeyError) as error:
        raise DataError(
            f"The anchor catalog in '{folder}' is damaged ({str(error).splitlines()[0]}). Mine again."
        ) from error
    if not len(anchors) == audio.shape[0] == latents.shape[0] == about["anchors"]:
        raise DataError(f"The anchor catalog in '{folder}' is damaged: its files differ in length. Mine again.")
    return Catalog(anchors, audio, latents, int(about["sample_rate"]), str(about["detector"]))
