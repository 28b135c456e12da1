"""AudioSet as everyone has it: segment lists, class names, and a folder of audio in which files are missing."""

import csv
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from querysep.data.formats.files import Found, duration_s, in_words, is_cut, name_parts, walk
from querysep.data.manifest import Split
from querysep.data.ontology import Ontology, audioset
from querysep.errors import DataError
from querysep.io.audio_reader import AUDIO_ENDINGS
from querysep.progress import Progress, silent

SOURCE = "AudioSet"
CLASSES_FILE = "class_labels_indices.csv"
ONTOLOGY_FILE = "ontology.json"
_BESIDE = (".", "metadata", "meta", "csv", "csvs", "..", "../metadata", "../..", "../../metadata")
_ID = 11  # characters of a YouTube id
_HEAD = 3  # lines before the first segment
_TIMES = re.compile(r"_(\d+(?:\.\d+)?)(?:_\d+(?:\.\d+)?)?")
_PROBES = 8
_ANY_TIME = -1.0


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    youtube_id: str
    start_s: float
    end_s: float
    mids: str


def find_audioset(
    path: Path, audio: Path | None = None, classes: Path | None = None, progress: Progress = silent
) -> Found:
    """Join the segment lists to the audio by YouTube id.

    Args:
        path: a segment list, or the folder that has one or more, at most two folders down.
        audio: folder of the audio files, at any depth; by default the folder of ``path``.
        classes: class list or ontology; by default what lies near the lists.
        progress: called with files and rows.

    Returns:
        A clip for each segment whose audio is there. Missing files are problems.

    Raises:
        DataError: no segment list, or a list that cannot be read.
    """
    lists = [path] if path.is_file() else segment_lists(path)
    if not lists:
        raise DataError(f"'{path}' has no AudioSet segment list such as balanced_train_segments.csv.")
    root = audio or (path.parent if path.is_file() else path)
    names = find_class_names(lists[0].parent, classes)
    found = Found(root, segments=True)
    files = _AudioFiles(root, progress)
    labels_of = _Labels(names, found)
    for number, one in enumerate(lists):
        progress(number, len(lists), f"reading {one.name}")
        _join(one, files, labels_of, found)
    labels_of.warn()
    _decide_start(found)
    return found


def segment_lists(folder: Path) -> list[Path]:
    """Return the segment lists in a folder and at most two folders down."""
    candidates = [one for depth in ("*", "*/*", "*/*/*") for one in folder.glob(f"{depth}.csv")]
    return sorted(one for one in candidates if is_segment_list(one))


def is_segment_list(path: Path) -> bool:
    """Say whether a file looks like a list of segments: three lines of remarks, then ids, times and machine ids."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = list(islice(file, _HEAD + 1))
    except OSError:
        return False
    return len(lines) > _HEAD - 1 and (
        lines[0].startswith("# Segments") or (len(lines) > _HEAD and _parse(lines[_HEAD], 0) is not None)
    )


@dataclass(frozen=True)
class ClassNames:
    """What is known of the classes.

    Attributes:
        names: display name by machine id, such as ``/m/0bt9lr``.
        ordered: display names in the order of the class index.
        from_list: a class list was found; else names and order are those of the ontology that we carry.
        ontology: which class is a kind of which.
    """

    names: dict[str, str]
    ordered: tuple[str, ...]
    from_list: bool
    ontology: Ontology

    def most_specific_first(self, labels: list[str]) -> tuple[str, ...]:
        """Return labels without repeats, those with most ancestors in the ontology first."""

        def ancestors(label: str) -> int:
            return len(self.ontology.ancestors(label)) if label in self.ontology else 0

        return tuple(sorted(dict.fromkeys(labels), key=ancestors, reverse=True))


def find_class_names(folder: Path, given: Path | None = None) -> ClassNames:
    """Find class lists beside a data set.

    Args:
        folder: of the data set; the folders around it are searched too.
        given: a class list or an ontology (``.json``) of the user's choice.

    Returns:
        What was found; of the ontology that we carry where there is nothing.

    Raises:
        DataError: a list or ontology cannot be read.
    """
    classes, tree = _near(folder, CLASSES_FILE), _near(folder, ONTOLOGY_FILE)
    if given is not None:
        classes, tree = (classes, given) if given.suffix == ".json" else (given, tree)
    carried = audioset()
    ontology = carried if tree is None else Ontology.from_json(tree)
    names = {one.id: one.name for one in (*carried, *ontology)}
    if classes is None:
        indexed = sorted((one.index, one.name) for one in carried if one.index is not None)
        return ClassNames(names, tuple(name for _, name in indexed), False, ontology)
    rows = _read_classes(classes)
    return ClassNames(names | dict(rows), tuple(name for _, name in rows), True, ontology)


def _near(folder: Path, name: str) -> Path | None:
    places = (folder / place / name for place in _BESIDE)
    return next((path for path in places if path.is_file()), None)


def _read_classes(path: Path) -> list[tuple[str, str]]:
    """Return machine id and name of each class, in order."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: int(row["index"]))
        return [(row["mid"], row["display_name"]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"'{path}' is not a list of classes ({error}). It needs the columns index, mid and display_name, "
            "as AudioSet's class_labels_indices.csv has them."
        ) from error


class _AudioFiles:
    """The audio below a folder, by YouTube id."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self._paths: list[str] = []
        self._starts_s = array("d")
        self._by_id: dict[str, int | list[int]] = {}
        for path in walk(root):
            stem, ending = name_parts(path)
            if ending in AUDIO_ENDINGS:
                self._add(path, stem)
                if len(self._paths) % 10_000 == 0:
                    progress(len(self._paths), None, "looking for audio")
        self._used_s = array("d", [_ANY_TIME]) * len(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def _add(self, path: str, stem: str) -> None:
        index = len(self._paths)
        given = _ANY_TIME
        keys = []
        for lead in (0, 1) if stem.startswith("Y") else (0,):
            rest = stem[lead + _ID :]
            times = _TIMES.fullmatch(rest)
            if len(stem) - lead >= _ID and (not rest or times):
                keys.append(stem[lead : lead + _ID])
                given = float(times[1]) if times else given
        self._paths.append(path)
        self._starts_s.append(given)
        for key in keys:
            before = self._by_id.get(key)
            if before is None:
                self._by_id[key] = index
            elif isinstance(before, list):
                before.append(index)
            else:
                self._by_id[key] = [before, index]

    def path_of(self, index: int) -> str:
        return self._paths[index]

    def says_start(self, index: int) -> bool:
        """Whether the name states a start, so the file is the segment alone."""
        return self._starts_s[index] != _ANY_TIME

    def match(self, row: _Row) -> int | None:
        """Return the file that holds a segment."""
        candidates = self._by_id.get(row.youtube_id)
        if candidates is None:
            return None
        plain = None
        for index in [candidates] if isinstance(candidates, int) else candidates:
            given = self._starts_s[index]
            if given == _ANY_TIME:
                plain = index
            elif abs(given - row.start_s) < 0.5 or abs(given - 1000 * row.start_s) < 500:
                return index
        return plain

    def use(self, index: int, start_s: float) -> bool:
        """Note that a file holds a segment; return False where it was noted before."""
        if self._used_s[index] == start_s:
            return False
        self._used_s[index] = start_s
        return True


class _Labels:
    """Machine ids as they stand in a row -> display names; every combination is worked out once."""

    def __init__(self, names: ClassNames, found: Found) -> None:
        self._names, self._found = names, found
        self._known: dict[str, tuple[str, ...]] = {}
        self._unknown: dict[str, None] = {}

    def __call__(self, mids: str) -> tuple[str, ...]:
        labels = self._known.get(mids)
        if labels is None:
            given = [mid.strip() for mid in mids.split(",") if mid.strip()]
            self._unknown.update(dict.fromkeys(mid for mid in given if mid not in self._names.names))
            labels = self._names.most_specific_first([self._names.names.get(mid, mid) for mid in given])
            self._known[mids] = labels
        return labels

    def warn(self) -> None:
        if self._unknown:
            self._found.warnings.append(
                f"{len(self._unknown)} classes have no name in the class list and keep their machine id as label: "
                f"{in_words(self._unknown)}."
            )


def _rows(path: Path, found: Found) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if number <= _HEAD or not line.strip():
                    continue
                row = _parse(line, number)
                if row is None:
                    where = f"{path.name}:{number}"
                    found.leave_out(where, "row", "The line is not 'id, start, end, \"machine ids\"'.")
                else:
                    yield row
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the segment list '{path}': {error}.") from error


def _parse(line: str, number: int) -> _Row | None:
    fields = line.split(",", 3)
    if len(fields) < 4:
        return None
    try:
        start_s, end_s = float(fields[1]), float(fields[2])
    except ValueError:
        return None
    mids = fields[3].strip().strip('"')
    if not 0 <= start_s < end_s or not mids.startswith("/"):
        return None
    return _Row(number, fields[0].strip(), start_s, end_s, mids)


def _join(path: Path, files: _AudioFiles, labels_of: _Labels, found: Found) -> None:
    split: Split = "test" if path.name.startswith("eval") else "train"
    for row in _rows(path, found):
        labels = labels_of(row.mids)
        index = files.match(row)
        if index is None:
            found.leave_out(row.youtube_id, "missing", f"No audio for line {row.number} of {path.name}.")
        elif not files.use(index, row.start_s):
            found.leave_out(files.path_of(index), "repeated", f"Line {row.number} of {path.name} repeats a segment.")
        else:
            found.clips.add(
                files.path_of(index),
                labels,
                row.end_s - row.start_s,
                start_s=0.0 if files.says_start(index) else row.start_s,
                source=SOURCE,
                origin=row.youtube_id,
                split=split,
            )


def _decide_start(found: Found) -> None:
    """Say in the clips where each begins: a few files show whether they are segments or whole recordings.

    Reading checks every file again, so a mixture of both is read rightly.
    """
    verdicts = []
    for index in range(0, len(found.clips), max(1, len(found.clips) // _PROBES)):
        clip = found.clips[index]
        if clip.start_s > 0:
            try:
                verdicts.append(is_cut(duration_s(found.root / clip.path), clip.start_s, clip.duration_s))
            except DataError:
                continue
    if 2 * sum(verdicts) >= len(verdicts):
        found.clips.cut = True
    else:
        found.warnings.append("Audio files hold more than the segments; each segment is cut at its start and end.")
