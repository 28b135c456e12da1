"""The clips of a data set: in memory, two million of them in some hundred megabytes, and as a file."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from pathlib import Path, PurePosixPath
from typing import Literal, overload

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from querysep.errors import DataError
from querysep.io.files import atomic_text

Split = Literal["train", "validation", "test"]

RENDERED = "rendered:"
"""How the source of a clip begins that was made from a soundfont."""
REPOSITORY = "repository:"
"""How the source of a clip begins that a stranger recorded and published, as it is: ``repository:owner/name``."""

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_CODES = {split: code for code, split in enumerate(_SPLITS)}
_NO_ROW = -1


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


def is_from_repository(clip: Clip) -> bool:
    """Say whether a clip came out of a public repository of recordings.

    Args:
        clip: of any manifest.

    Returns:
        False for what came in a package, or was rendered.
    """
    return clip.source.startswith(REPOSITORY)


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
        path: the JSON lines file; its folder is made.

    Raises:
        OutputError: it cannot be written.
    """
    atomic_text(path, "".join(clip.model_dump_json() + "\n" for clip in clips))


class ClipTable(Sequence[Clip]):
    """A growing list of clips in columns; rows become a ``Clip``, and are checked, when they are read.

    Texts and label tuples that occur often are kept once.

    Attributes:
        cut: most files are the segments alone, so clips are shown to begin at 0 whatever start was stated.
    """

    def __init__(self, *, cut: bool = False) -> None:
        self.cut = cut
        self._paths: list[str] = []
        self._rows = array("q")
        self._starts_s = array("d")
        self._durations_s = array("d")
        self._labels: list[tuple[str, ...]] = []
        self._licences: list[str] = []
        self._sources: list[str] = []
        self._origins: list[str] = []
        self._splits = bytearray()
        self._held_out = bytearray()
        self._texts: dict[str, str] = {}
        self._label_sets: dict[tuple[str, ...], tuple[str, ...]] = {}

    def add(
        self,
        path: str,
        labels: tuple[str, ...],
        duration_s: float,
        *,
        row: int | None = None,
        start_s: float = 0.0,
        licence: str = "",
        source: str = "",
        origin: str | None = None,
        split: Split = "train",
        held_out: bool = False,
    ) -> None:
        """Add a clip; fields as in ``Clip``. Without an origin the path is the origin."""
        self._paths.append(path)
        self._rows.append(_NO_ROW if row is None else row)
        self._starts_s.append(start_s)
        self._durations_s.append(duration_s)
        self._labels.append(self._label_sets.setdefault(labels, labels))
        self._licences.append(self._texts.setdefault(licence, licence))
        self._sources.append(self._texts.setdefault(source, source))
        self._origins.append(path if origin is None else origin)
        self._splits.append(_CODES[split])
        self._held_out.append(held_out)

    def add_clip(self, clip: Clip) -> None:
        """Add a clip that exists already."""
        self.add(
            clip.path,
            clip.labels,
            clip.duration_s,
            row=clip.row,
            start_s=clip.start_s,
            licence=clip.licence,
            source=clip.source,
            origin=clip.origin,
            split=clip.split,
            held_out=clip.held_out,
        )

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> Clip: ...

    @overload
    def __getitem__(self, index: slice) -> "ClipTable": ...

    def __getitem__(self, index: int | slice) -> "Clip | ClipTable":
        if isinstance(index, slice):
            return self.taken(range(*index.indices(len(self))))
        row = self._rows[index]
        return Clip(
            path=self._paths[index],
            row=None if row == _NO_ROW else row,
            start_s=0.0 if self.cut else self._starts_s[index],
            labels=self._labels[index],
            duration_s=self._durations_s[index],
            licence=self._licences[index],
            source=self._sources[index],
            origin=self._origins[index],
            split=_SPLITS[self._splits[index]],
            held_out=bool(self._held_out[index]),
        )

    def __iter__(self) -> Iterator[Clip]:
        return (self[index] for index in range(len(self)))

    def labels_at(self, index: int) -> tuple[str, ...]:
        """Return the labels of a clip, without making the clip."""
        return self._labels[index]

    def stated_start_s(self, index: int) -> float:
        """Return where the data set says that a clip begins in the recording that it was cut from."""
        return self._starts_s[index]

    def of_split(self, split: Split) -> "ClipTable":
        """Return the clips of one split."""
        code = _CODES[split]
        return self.taken(compress(range(len(self)), (one == code for one in self._splits)))

    def taken(self, indices: Iterable[int]) -> "ClipTable":
        """Return some of the clips, in the order asked for."""
        new = ClipTable(cut=self.cut)
        for index in indices:
            row = self._rows[index]
            new.add(
                self._paths[index],
                self._labels[index],
                self._durations_s[index],
                row=None if row == _NO_ROW else row,
                start_s=self._starts_s[index],
                licence=self._licences[index],
                source=self._sources[index],
                origin=self._origins[index],
                split=_SPLITS[self._splits[index]],
                held_out=bool(self._held_out[index]),
            )
        return new
