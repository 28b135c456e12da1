"""The list of clips of a data set: one JSON object a line, beside the audio."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from querysep.errors import DataError

Split = Literal["train", "validation", "test"]

RENDERED = "rendered:"
"""How the source of a clip begins that was made from a soundfont."""


class Clip(BaseModel):
    """One recording of a data set with its weak labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(min_length=1, description="relative to the manifest's folder, with '/'")
    row: int | None = Field(
        default=None, ge=0, description="of a pack of many clips, such as HDF5; None: the file is the clip"
    )
    start_s: float = Field(default=0.0, ge=0, description="where the clip begins in the file, seconds")
    labels: tuple[str, ...] = Field(min_length=1, description="AudioSet display names, the most specific first")
    duration_s: float = Field(gt=0, description="seconds")
    licence: str = Field(description="as the source states it; empty where nobody knows")
    source: str = Field(description="the package that the recording came in")
    origin: str = Field(description="clips of one origin are never split apart")
    split: Split
    held_out: bool = Field(False, description="its class is never trained on")

    @field_validator("path")
    @classmethod
    def _inside_the_folder(cls, path: str) -> str:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError(f"'{path}' leaves the manifest's folder")
        return path


def is_rendered(clip: Clip) -> bool:
    """Say whether a clip was made from a soundfont.

    Args:
        clip: of any manifest.

    Returns:
        False for a recording.
    """
    return clip.source.startswith(RENDERED)


def read_manifest(path: Path) -> list[Clip]:
    """Read a manifest.

    Args:
        path: a JSON lines file, as ``write_manifest`` makes it.

    Returns:
        The clips, in the order of the file.

    Raises:
        DataError: the file cannot be read, or a line is not a clip.
    """
    return list(iterate_manifest(path))


def iterate_manifest(path: Path) -> Iterator[Clip]:
    """Read a manifest clip by clip, for those with millions; see ``read_manifest``."""
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield _clip_of_line(path, number, line)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the manifest '{path}': {error}.") from error


def _clip_of_line(path: Path, number: int, line: str) -> Clip:
    try:
        return Clip.model_validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "line"
        raise DataError(
            f"Line {number} of '{path}' is not a clip: {field}: {first['msg']}. "
            "Build the data set again or mend the line."
        ) from error


def write_manifest(clips: Iterable[Clip], path: Path) -> None:
    """Write a manifest; a reader sees the old file or the new one, never half of it.

    Args:
        clips: in the order in which they shall stand.
        path: the JSON lines file; its folder must exist.
    """
    lines = [clip.model_dump_json() + "\n" for clip in clips]
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    part = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.writelines(lines)
        part.chmod(0o644)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
