"""Music with known parts: which clips of a set sound together, and how loud."""

from pathlib import Path

import numpy as np
import soundfile
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from querysep.data.manifest import Clip, Split
from querysep.errors import DataError
from querysep.io.files import atomic_text
from querysep.types import FloatArray

MULTITRACK = "multitrack.jsonl"
"""The file's name, beside ``manifest.jsonl``."""
MUSIC_FOLDER = "music"
"""Where the stems lie, in the manifest's folder."""


class Stem(BaseModel):
    """One part of a piece."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1, description="of the clip, relative to the manifest's folder")
    label: str = Field(description="class of the instrument, an AudioSet display name")
    gain: float = Field(gt=0, description="the clip times this is its share of the mixture")


class Multitrack(BaseModel):
    """An excerpt of a piece; its stems begin together and have one length."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    piece: str = Field(description="path in the corpus of music21")
    terms: str = Field(description="of the score's encoding")
    start_quarter: float = Field(ge=0, description="where the excerpt begins in the score, quarter notes")
    quarter_s: float = Field(gt=0, description="length of a quarter note")
    duration_s: float = Field(gt=0)
    split: Split
    stems: tuple[Stem, ...] = Field(min_length=2)


def is_stem(clip: Clip) -> bool:
    """Say whether a rendered clip is a stem of a piece.

    Args:
        clip: of any manifest.

    Returns:
        False for rendered phrases.
    """
    return clip.path.startswith(f"{MUSIC_FOLDER}/")


def read_multitracks(path: Path) -> list[Multitrack]:
    """Read the list of pieces of a set.

    Args:
        path: ``multitrack.jsonl``.

    Returns:
        The pieces, in the order of the file.

    Raises:
        DataError: the file cannot be read, or a line is not a piece.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read '{path}': {error}. `openset render` makes it.") from error
    pieces = []
    for number, line in enumerate(lines, start=1):
        try:
            pieces.append(Multitrack.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"]) or "line"
            raise DataError(
                f"Line {number} of '{path}' is not a piece: {field}: {first['msg']}. Render the set again."
            ) from error
    return pieces


def write_multitracks(pieces: list[Multitrack], path: Path) -> None:
    """Write the list of pieces; a reader sees the old file or the new one.

    Args:
        pieces: in the order in which they shall stand.
        path: ``multitrack.jsonl``.
    """
    atomic_text(path, "".join(piece.model_dump_json() + "\n" for piece in pieces))


def read_stems(piece: Multitrack, directory: Path) -> list[FloatArray]:
    """Read the stems of a piece as they sound in its mixture, which is their sum.

    Args:
        piece: of ``multitrack.jsonl``.
        directory: where that file lies.

    Returns:
        Stems in order, each of shape (time,).

    Raises:
        DataError: a stem cannot be read, or their lengths differ.
    """
    stems = []
    for stem in piece.stems:
        try:
            samples, _ = soundfile.read(directory / stem.path, dtype="float32")
        except (soundfile.SoundFileError, OSError) as error:
            raise DataError(f"Cannot read '{directory / stem.path}': {error}. Render the set again.") from error
        stems.append(np.asarray(samples * stem.gain, dtype=np.float32))
    if len({stem.size for stem in stems}) != 1:
        raise DataError(f"The stems of '{piece.name}' differ in length. Render the set again.")
    return stems
