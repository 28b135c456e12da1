"""Data sets of any format as recordings: the format is found out, or given."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from querysep.data.formats import DataFormat
from querysep.data.formats.audioset import find_audioset, is_segment_list, segment_lists
from querysep.data.formats.files import FileRecordings, Found, Problem
from querysep.data.formats.freesound import ESC50_LIST, FSD50K_LISTS, find_esc50, find_fsd50k
from querysep.data.formats.hdf5 import ENDINGS, PackRecordings, find_packs, pack_files
from querysep.data.formats.own_data import ALL_TRAINING, TABLE_ENDINGS, find_folders, find_table, has_table_columns
from querysep.data.manifest import Clip, Split, iterate_manifest
from querysep.data.recordings import Recordings
from querysep.data.splitting import split_by_origin
from querysep.data.store import ClipStore, is_store
from querysep.errors import DataError
from querysep.progress import Progress, silent

MANIFEST = "manifest.jsonl"
_OWN_FIELDS = ('"path"', '"labels"', '"duration_s"', '"origin"', '"split"')


@dataclass(frozen=True)
class OpenedRecordings:
    """A data set that was opened: its recordings, and what there is to say of it.

    Attributes:
        recordings: clips and their sound.
        data_format: how the data set lies on the disk.
        problems: everything that could not be taken.
        warnings: what was decided for the user, one sentence each.
    """

    recordings: Recordings
    data_format: DataFormat
    problems: Sequence[Problem] = ()
    warnings: Sequence[str] = ()

    @property
    def clips(self) -> Sequence[Clip]:
        """The rows."""
        return self.recordings.clips

    @property
    def sample_rate(self) -> int:
        """Of all that is read, in Hz."""
        return self.recordings.sample_rate

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        """Read sound of a clip, see ``Recordings.read``."""
        return self.recordings.read(index, start, count)


def open_recordings(
    path: Path | str,
    sample_rate: int,
    *,
    data_format: DataFormat | None = None,
    split: Split | None = None,
    audio: Path | None = None,
    classes: Path | None = None,
    keep_test: bool = False,
    progress: Progress = silent,
) -> OpenedRecordings:
    """Open a data set of any format; sound is decoded when it is read.

    Where the test side is asked for and the data set has none, it is split by origin (``split_by_origin``).

    Args:
        path: a folder, a list, a manifest, an HDF5 pack, or a store (folder or ``s3://bucket/prefix``).
        sample_rate: of what ``read`` gives, Hz.
        data_format: how the data set lies there; None: find it out.
        split: take one split only.
        audio: folder of the audio, where it does not lie with a list (table, audioset).
        classes: AudioSet's class list or ontology, where it does not lie with the data (audioset, fsd50k, hdf5).
        keep_test: split a data set without a test side also where no side is asked for.
        progress: called while lists and headers are read.

    Returns:
        The clips with random access to their sound, and what could not be taken.

    Raises:
        DataError: there is nothing, nothing that we know, or no clip that can be used.
    """
    splits_itself = keep_test or split == "test"
    if data_format is DataFormat.STORE or (data_format is None and is_store(path)):
        return _open_store(path, sample_rate, split, splits_itself=splits_itself)
    place = Path(path)
    if not place.exists():
        raise DataError(f"There is no data set at '{place}'. Check the name and the folder.")
    chosen = data_format or find_format(place)
    found = _find(place, chosen, audio, classes, progress)
    if not len(found.clips):
        raise DataError(_nothing(place, chosen, found))
    has_no_sides = splits_itself and _is_all_training(found.clips)
    clips = found.clips if split is None or has_no_sides else found.clips.of_split(split)
    if not len(clips):
        raise DataError(f"'{place}' has no clips in the split '{split}'.")
    recordings: Recordings
    if chosen is DataFormat.HDF5:
        recordings = PackRecordings(found.root, clips, sample_rate)
    else:
        recordings = FileRecordings(found.root, clips, sample_rate, segments=found.segments)
    opened = OpenedRecordings(recordings, chosen, tuple(found.problems), tuple(found.warnings))
    return _with_sides(opened, split, path) if has_no_sides else opened


def _is_all_training(clips: Sequence[Clip]) -> bool:
    return all(clip.split == "train" and not clip.held_out for clip in clips)


def _with_sides(opened: OpenedRecordings, split: Split | None, path: Path | str) -> OpenedRecordings:
    sides, said = split_by_origin(opened.recordings, split)
    if not sides.clips:
        raise DataError(f"'{path}' has no test side, and too few clips of each class to split one off. Add clips.")
    kept = (one for one in opened.warnings if one != ALL_TRAINING)
    return replace(opened, recordings=sides, warnings=(*kept, said))


def find_format(path: Path) -> DataFormat:
    """Find out how a data set lies at a path.

    Raises:
        DataError: in no way that we know.
    """
    data_format = _format_of_file(path) if path.is_file() else _format_of_folder(path)
    if data_format is None:
        known = ", ".join(DataFormat)
        raise DataError(
            f"'{path}' is no data set that we know. Give a folder with a folder for each class, a CSV or JSON-lines "
            f"list of files and labels, AudioSet, FSD50K, ESC-50 or HDF5 packs; or name the layout ({known})."
        )
    return data_format


def _format_of_file(path: Path) -> DataFormat | None:
    if path.suffix.lower() in ENDINGS:
        return DataFormat.HDF5
    if path.suffix == ".jsonl" and _is_own_manifest(path):
        return DataFormat.MANIFEST
    if path.suffix == ".csv" and is_segment_list(path):
        return DataFormat.AUDIOSET
    return DataFormat.TABLE if path.suffix.lower() in TABLE_ENDINGS else None


def _format_of_folder(path: Path) -> DataFormat | None:
    if is_store(path):
        return DataFormat.STORE
    if (path / MANIFEST).is_file():
        return _format_of_file(path / MANIFEST)
    signs: tuple[tuple[DataFormat, Callable[[], bool]], ...] = (
        (DataFormat.FSD50K, (path / FSD50K_LISTS).is_dir),
        (DataFormat.ESC50, (path / ESC50_LIST).is_file),
        (DataFormat.AUDIOSET, lambda: bool(segment_lists(path))),
        (DataFormat.TABLE, lambda: _table_in(path) is not None),
        (DataFormat.HDF5, lambda: next(pack_files(path), None) is not None),
        (DataFormat.FOLDERS, lambda: any(one.is_dir() and not one.name.startswith(".") for one in path.iterdir())),
    )
    return next((data_format for data_format, is_there in signs if is_there()), None)


def _is_own_manifest(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
    except (OSError, UnicodeDecodeError):
        return False
    return all(field in first for field in _OWN_FIELDS)


def _table_in(folder: Path) -> Path | None:
    """Return the one list in a folder that has the columns of a list."""
    tables = [one for one in sorted(folder.iterdir()) if one.suffix.lower() in TABLE_ENDINGS and one.is_file()]
    usable = [one for one in tables if has_table_columns(one)]
    if len(usable) > 1:
        raise DataError(f"'{folder}' has several lists: {', '.join(one.name for one in usable)}. Name the one to read.")
    return usable[0] if usable else None


def _find(path: Path, data_format: DataFormat, audio: Path | None, classes: Path | None, progress: Progress) -> Found:
    match data_format:
        case DataFormat.MANIFEST:
            found = _find_own(path / MANIFEST if path.is_dir() else path)
        case DataFormat.FOLDERS:
            found = find_folders(_folder(path, data_format), progress)
        case DataFormat.TABLE:
            table = _table_in(path) if path.is_dir() else path
            if table is None:
                raise DataError(f"'{path}' has no list with a column of paths and one of labels.")
            found = find_table(table, audio, progress)
        case DataFormat.AUDIOSET:
            found = find_audioset(path, audio, classes, progress)
        case DataFormat.FSD50K:
            found = find_fsd50k(_folder(path, data_format), classes, progress)
        case DataFormat.ESC50:
            found = find_esc50(_folder(path, data_format), progress)
        case DataFormat.HDF5:
            found = find_packs(path, classes, progress)
        case DataFormat.STORE:
            raise DataError(f"'{path}' is a store; it holds its clips itself.")
    return found


def _open_store(
    location: Path | str, sample_rate: int, split: Split | None, *, splits_itself: bool
) -> OpenedRecordings:
    store, has_no_sides = ClipStore(location, split=split), False
    if splits_itself and (split is None or not len(store.clips)):
        whole = store if split is None else ClipStore(location)
        if len(whole.clips) and _is_all_training(whole.clips):
            store, has_no_sides = whole, True
    if store.sample_rate != sample_rate:
        raise DataError(
            f"The store '{location}' holds sound at {store.sample_rate} Hz, and {sample_rate} Hz is needed. "
            f"Pack the clips again with --sample-rate {sample_rate}."
        )
    if not len(store.clips):
        raise DataError(f"The store '{location}' has no clips" + (f" in the split '{split}'." if split else "."))
    unfinished = f"The store '{location}' is unfinished: its packing was cut short. Run `querysep data pack` again."
    opened = OpenedRecordings(
        store,
        DataFormat.STORE,
        tuple(Problem(path, "unreadable", problem) for path, problem in store.unreadable),
        () if store.complete else (unfinished,),
    )
    return _with_sides(opened, split, location) if has_no_sides else opened


def _folder(path: Path, data_format: DataFormat) -> Path:
    if not path.is_dir():
        raise DataError(f"'{path}' is a file; the layout '{data_format}' is a folder.")
    return path


def _find_own(path: Path) -> Found:
    found = Found(path.parent)
    for clip in iterate_manifest(path):
        if (path.parent / clip.path).is_file():
            found.clips.add_clip(clip)
        else:
            found.leave_out(clip.path, "missing", "The manifest names the file, but it is not there.")
    return found


def _nothing(path: Path, data_format: DataFormat, found: Found) -> str:
    if not found.problems:
        return f"'{path}' was read as {data_format} and holds no clips. Name the layout if it is another."
    first = found.problems[0]
    return (
        f"'{path}' was read as {data_format}, but none of its {len(found.problems)} clips can be used. "
        f"The first: {first.path}: {first.detail}"
    )
