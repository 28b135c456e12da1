"""Clips in columns: two million of them in some hundred megabytes, built as objects only when asked for."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import overload

from querysep.data.manifest import Clip, Split

_SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_CODES = {split: code for code, split in enumerate(_SPLITS)}
_NO_ROW = -1


class ClipTable(Sequence[Clip]):
    """A growing list of clips; rows are checked when they are read as ``Clip``.

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
