"""HDF5 packs and indexes as the tools of audioset_tagging_cnn make them."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from querysep.data.formats.audioset import CLASSES_FILE, SOURCE, ClassNames, find_class_names
from querysep.data.formats.files import Found, Part, name_parts
from querysep.data.manifest import ClipTable, Split
from querysep.errors import DataError
from querysep.progress import Progress, silent

ENDINGS = (".h5", ".hdf5")
_BLOCK = 4_096  # rows of targets read at once
_USUAL_RATE = 32_000
_YOUTUBE_NAME = 16  # Y + id + .wav


def find_packs(path: Path, classes: Path | None = None, progress: Progress = silent) -> Found:
    """Find the clips in a pack, in an index of packs, or in all packs below a folder.

    Args:
        path: ``waveforms/*.h5``, ``indexes/*.h5``, or a folder, whose packs are taken and whose indexes are not needed.
        classes: AudioSet's class list; by default what lies near.
        progress: called after each block of rows.

    Returns:
        The clips, with ``row``; split by the name of the file: eval or test, validation, else training.

    Raises:
        DataError: no pack, a file that is no pack, or packs of different numbers of classes.
    """
    import_h5py()
    paths = [path] if path.is_file() else list(pack_files(path))
    root = path.parent if path.is_file() else path
    contents = [_Content(one) for one in paths]
    if path.is_dir():
        contents = [one for one in contents if one.is_pack]
    if not contents:
        raise DataError(f"'{path}' has no HDF5 pack with the data sets audio_name, target and waveform.")
    outside = [one.pack_path(root, one.packs[0]) for one in contents if not one.is_pack and one.packs]
    if any(root not in pack.parents for pack in outside):
        root = Path(os.path.commonpath([root, *(pack.parent for pack in outside)]))
    found = Found(root)
    width = {one.classes for one in contents}
    if len(width) > 1:
        raise DataError(f"The packs in '{path}' have different numbers of classes: {sorted(width)}.")
    names = find_class_names(path.parent if path.is_file() else path, classes)
    labels = _class_labels(path, width.pop(), classes, names, found)
    for one in contents:
        _take(one, root, _Labels(labels, names), found, progress)
    return found


def import_h5py() -> Any:
    """Return the module h5py.

    Raises:
        DataError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError("HDF5 packs need the extra 'data': pip install 'querysep[data]'.") from error
    return h5py


def pack_files(folder: Path) -> Iterator[Path]:
    """Give the HDF5 files below a folder, in order."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS and path.is_file():
            yield path


class _Content:
    """What an HDF5 file says of itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with import_h5py().File(path, "r") as file:
                names = set(file)
                self.is_pack = "waveform" in names
                pointer = next((name for name in ("hdf5_path", "hdf5_name") if name in names), None)
                if not {"audio_name", "target"} <= names or (not self.is_pack and pointer is None):
                    raise DataError(
                        f"'{path}' is neither a pack nor an index: it has {', '.join(sorted(names)) or 'nothing'}; "
                        "want audio_name, target and waveform, or audio_name, target, hdf5_path and index_in_hdf5."
                    )
                self.rows, self.classes = len(file["audio_name"]), int(file["target"].shape[1])
                self.rate = int(file.attrs.get("sample_rate", 0))
                self.samples = int(file["waveform"].shape[1]) if self.is_pack else 0
                self.packs = [] if self.is_pack or pointer is None else _texts(file[pointer][:])
                self.pack_rows = [] if self.is_pack else [int(row) for row in file["index_in_hdf5"][:]]
        except (OSError, KeyError, AttributeError) as error:
            raise DataError(f"'{path}' is not an HDF5 pack that we can read: {error}.") from error

    def pack_path(self, root: Path, name: str) -> Path:
        """Return where a pack named in an index lies: there, or wherever the folder was moved to."""
        stated = Path(name)
        folders = [root, *list(root.resolve().parents)[:3]]
        for folder in folders:
            for parts in (stated.parts, stated.parts[-4:], stated.parts[-3:], stated.parts[-2:], stated.parts[-1:]):
                for place in (folder, folder / "waveforms", folder / "waveforms" / "unbalanced_train"):
                    if (place / Path(*parts)).is_file():
                        return place / Path(*parts)
        raise DataError(f"The index '{self.path}' names the pack '{name}', which is not below '{root}'.")


def _texts(values: Iterable[Any]) -> list[str]:
    known: dict[Any, str] = {}
    return [
        known.setdefault(one, one.decode("utf-8", "replace") if isinstance(one, bytes) else str(one)) for one in values
    ]


def _class_labels(path: Path, width: int, classes: Path | None, names: ClassNames, found: Found) -> tuple[str, ...]:
    if len(names.ordered) == width:
        if not names.from_list:
            found.warnings.append(f"There is no {CLASSES_FILE}; the {width} classes are taken in AudioSet's order.")
        return names.ordered
    if classes is not None:
        raise DataError(f"'{classes}' names {len(names.ordered)} classes, the packs in '{path}' have {width}.")
    found.warnings.append(
        f"The names of the {width} classes are not known, so they are called 'class 0', 'class 1' ... "
        f"Put AudioSet's {CLASSES_FILE} beside the packs, or name it with --classes."
    )
    return tuple(f"class {number}" for number in range(width))


def _split_of(path: Path) -> Split:
    words = path.stem.lower().replace("-", "_").split("_")
    if {"eval", "test", "evaluation"} & set(words):
        return "test"
    return "validation" if {"valid", "validation", "val"} & set(words) else "train"


class _Labels:
    """Targets -> labels, the most specific first; every combination is worked out once."""

    def __init__(self, ordered: tuple[str, ...], names: ClassNames) -> None:
        self._ordered, self._names = ordered, names
        self._known: dict[bytes, tuple[str, ...]] = {}

    def __call__(self, target: NDArray[np.bool_]) -> tuple[str, ...]:
        key = np.packbits(target).tobytes()
        labels = self._known.get(key)
        if labels is None:
            labels = self._names.most_specific_first([self._ordered[number] for number in np.flatnonzero(target)])
            self._known[key] = labels
        return labels


def _take(content: _Content, root: Path, labels_of: _Labels, found: Found, progress: Progress) -> None:
    packs = _Packs(content, root)
    split = _split_of(content.path)
    with import_h5py().File(content.path, "r") as file:
        for first in range(0, content.rows, _BLOCK):
            progress(first, content.rows, f"reading {content.path.name}")
            names = _texts(file["audio_name"][first : first + _BLOCK])
            targets = file["target"][first : first + _BLOCK] != 0
            for offset, (name, target) in enumerate(zip(names, targets, strict=True)):
                where = f"{content.path.name}[{first + offset}]"
                labels = labels_of(target)
                if not name:
                    found.leave_out(where, "missing", "The row is empty: its file was missing when the pack was made.")
                elif not labels:
                    found.leave_out(where, "unlabelled", f"'{name}' has no class in its target.")
                else:
                    pack, row, duration_s = packs.of(first + offset)
                    found.clips.add(pack, labels, duration_s, row=row, source=SOURCE, origin=_origin(name), split=split)


def _origin(name: str) -> str:
    """Return the YouTube id in a name such as ``Y<id>.wav``, or the name itself."""
    stem, ending = name_parts(name)
    return stem[1:] if len(name) == _YOUTUBE_NAME and name[0] == "Y" and ending == ".wav" else stem


class _Packs:
    """Where each row of a pack or an index has its sound."""

    def __init__(self, content: _Content, root: Path) -> None:
        self._content, self._root = content, root
        self._known: dict[str, tuple[str, float]] = {}

    def of(self, row: int) -> tuple[str, int, float]:
        content = self._content
        if content.is_pack:
            return self._about("", content)[0], row, self._about("", content)[1]
        name = content.packs[row]
        path, duration_s = self._about(name, None)
        return path, content.pack_rows[row], duration_s

    def _about(self, name: str, content: _Content | None) -> tuple[str, float]:
        if name not in self._known:
            pack = content or _Content(self._content.pack_path(self._root, name))
            if not pack.is_pack:
                raise DataError(f"The index '{self._content.path}' names '{name}', which holds no waveforms.")
            relative = Path(os.path.relpath(pack.path, self._root)).as_posix()
            self._known[name] = relative, pack.samples / (pack.rate or _USUAL_RATE)
        return self._known[name]


class PackRecordings:
    """Clips in HDF5 packs; every process opens the packs for itself, when it first reads."""

    def __init__(self, root: Path, clips: ClipTable, sample_rate: int) -> None:
        self.root = root
        self._clips, self._sample_rate = clips, sample_rate
        self._open: dict[tuple[int, str], Any] = {}

    @property
    def clips(self) -> ClipTable:
        """The rows."""
        return self._clips

    @property
    def sample_rate(self) -> int:
        """Of all that is read, in Hz."""
        return self._sample_rate

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of a clip, see ``Recordings.read``."""
        clip = self._clips[index]
        path = self.root / clip.path
        try:
            file = self._file(clip.path)
            rate = int(file.attrs.get("sample_rate", _USUAL_RATE))
            waveform = file["waveform"]
            part = Part.of(rate, self._sample_rate, int(waveform.shape[1]), start, count)
            sound = waveform[clip.row, part.first : part.last]
        except (OSError, KeyError, ValueError) as error:
            raise DataError(f"Row {clip.row} of '{path}' cannot be read: {error}.") from error
        if sound.dtype == np.int16:
            if rate == self._sample_rate:
                return np.asarray(sound)
            sound = sound.astype(np.float32) / 32_768
        return part.finish(path, np.asarray(sound, dtype=np.float32))

    def _file(self, path: str) -> Any:
        key = os.getpid(), path
        if key not in self._open:
            self._open[key] = import_h5py().File(self.root / path, "r")
        return self._open[key]
