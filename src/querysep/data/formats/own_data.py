"""Data sets of one's own: a list (CSV, TSV or JSON lines), or a folder for each class."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from querysep.data.formats.files import SPLIT_NAMES, Found, add_file, in_words, name_parts, walk
from querysep.data.manifest import Split
from querysep.data.ontology import audioset
from querysep.errors import DataError
from querysep.io.audio_reader import AUDIO_ENDINGS
from querysep.progress import Progress, silent

COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "audio", "audio_path"),
    "labels": ("labels", "label", "class", "classes", "category", "tags", "tag"),
    "start_s": ("start_s", "start", "start_time", "onset"),
    "end_s": ("end_s", "end", "end_time", "offset"),
    "split": ("split", "subset"),
    "licence": ("licence", "license"),
    "source": ("source",),
    "origin": ("origin", "group", "speaker"),
    "held_out": ("held_out",),
}
"""Our fields, and the names under which they are taken."""

ALL_TRAINING = "There are no folders 'train' and 'test', so every clip counts as training."
TABLE_ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
_ONE_LABEL = ("label", "class", "category", "tag")
_YES = {"1", "true", "yes"}
_DELIMITERS = ",;\t"


def find_table(path: Path, audio: Path | None = None, progress: Progress = silent) -> Found:
    """Read a list of files and labels.

    Args:
        path: CSV, TSV (with a line of names at the top) or JSON lines; other columns are passed over.
        audio: folder that the paths start from; by default the list's own.
        progress: called after each row.

    Returns:
        A clip for each row whose file can be read; rows that make no sense are problems.

    Raises:
        DataError: the list cannot be read, or has no column of paths or of labels.
    """
    first = next(_rows(path), None)
    if first is None:
        raise DataError(f"'{path}' has no rows.")
    columns = _columns(path, first.cells)
    base = (audio or path.parent).absolute()
    survey = _survey(path, columns, base)
    found = Found(survey.root)
    separator = survey.separator
    extra = sorted(set(first.cells) - set(columns.values()))
    if extra:
        found.warnings.append(f"Columns that we do not know were passed over: {in_words(extra)}.")
    if separator == ",":
        found.warnings.append(
            f"The column '{columns['labels']}' was split at ','. If a name has a comma in it, part the names by ';'."
        )
    if "split" not in columns:
        found.warnings.append("There is no column 'split', so every clip counts as training.")
    for done, row in enumerate(_rows(path)):
        progress(done, survey.rows, "reading headers")
        _take(row, path, columns, separator, base, found)
    return found


def _take(row: "_Row", path: Path, columns: Mapping[str, str], separator: str | None, base: Path, found: Found) -> None:
    where = f"{path.name}:{row.line}"
    given = _path(row.cells, columns)
    if not given:
        found.leave_out(where, "row", "The row has no path.")
        return
    try:
        fields = _fields(row.cells, columns, separator)
    except ValueError as error:
        found.leave_out(where, "row", f"{error}")
        return
    if fields["labels"]:
        add_file(found, os.path.relpath(base / given, found.root).replace(os.sep, "/"), **fields)
    else:
        found.leave_out(where, "unlabelled", f"'{given}' has no label.")


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    cells: Mapping[str, Any]


def has_table_columns(path: Path) -> bool:
    """Say whether a file has a column of paths and one of labels."""
    try:
        first = next(_rows(path), None)
        return first is not None and bool(_columns(path, first.cells))
    except DataError:
        return False


def _rows(path: Path) -> Iterator[_Row]:
    return _json_rows(path) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_rows(path)


def _csv_rows(path: Path) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            delimiter = max(_DELIMITERS, key=head.count)
            reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
            for cells in reader:
                named = {key.strip(): cell for key, cell in cells.items() if key}
                yield _Row(reader.line_num, named)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read the list '{path}': {error}. Save it as CSV in UTF-8.") from error


def _json_rows(path: Path) -> Iterator[_Row]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    cells = json.loads(line)
                    if not isinstance(cells, dict):
                        raise DataError(f"Line {number} of '{path}' is not a JSON object.")
                    yield _Row(number, cells)
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read the list '{path}': {error}. Want one JSON object a line.") from error


def _columns(path: Path, cells: Mapping[str, Any]) -> dict[str, str]:
    """Return the list's own name of each of our fields."""
    by_small = {name.lower(): name for name in reversed(list(cells))}
    columns = {}
    for field, names in COLUMNS.items():
        known = next((by_small[name] for name in names if name in by_small), None)
        if known is not None:
            columns[field] = known
    for field in ("path", "labels"):
        if field not in columns:
            raise DataError(
                f"'{path}' has no column '{field}' (or {in_words(COLUMNS[field][1:])}); "
                f"it has {in_words(cells) or 'none'}. Name the columns in the first line."
            )
    return columns


@dataclass(frozen=True)
class _Survey:
    """What only the whole list shows.

    Attributes:
        rows: how many.
        root: the folder below which all files lie: the list's own, if no path leaves it.
        separator: what stands between labels: ';' or '|' where it occurs, else ',' unless the column is for one label.
    """

    rows: int
    root: Path
    separator: str | None


def _survey(path: Path, columns: Mapping[str, str], base: Path) -> _Survey:
    folders, rows, seen = {""}, 0, set[str]()
    for row in _rows(path):
        rows += 1
        folders.add(_path(row.cells, columns).rpartition("/")[0])
        cell = row.cells.get(columns["labels"])
        if isinstance(cell, str):
            seen.update(separator for separator in ";|," if separator in cell)
    if columns["labels"].lower() in _ONE_LABEL:
        seen.discard(",")
    whole = {os.path.normpath(base / folder) for folder in folders}
    inside = all(folder == str(base) or folder.startswith(f"{base}{os.sep}") for folder in whole)
    root = base if inside else Path(os.path.commonpath(whole))
    return _Survey(rows, root, next((separator for separator in ";|," if separator in seen), None))


def _path(cells: Mapping[str, Any], columns: Mapping[str, str]) -> str:
    return str(cells.get(columns["path"]) or "").strip().replace("\\", "/")


def _fields(cells: Mapping[str, Any], columns: Mapping[str, str], separator: str | None) -> dict[str, Any]:
    def text(field: str) -> str:
        cell = cells.get(columns.get(field, ""))
        return "" if cell is None else str(cell).strip()

    fields: dict[str, Any] = {"labels": _labels(cells.get(columns["labels"]), separator)}
    fields["start_s"] = _seconds(text("start_s") or "0", "start")
    if text("end_s"):
        fields["end_s"] = _seconds(text("end_s"), "end")
        if fields["end_s"] <= fields["start_s"]:
            raise ValueError(f"The clip ends at {fields['end_s']:g} s, before it starts ({fields['start_s']:g} s).")
    split = text("split").lower() or "train"
    if split not in SPLIT_NAMES:
        raise ValueError(f"'{split}' is not a split. Write train, validation or test.")
    fields["split"] = SPLIT_NAMES[split]
    fields["licence"], fields["source"] = text("licence"), text("source")
    fields["origin"] = text("origin") or None
    fields["held_out"] = text("held_out").lower() in _YES
    return fields


def _labels(cell: Any, separator: str | None) -> tuple[str, ...]:
    if isinstance(cell, list):
        parts = cell
    else:
        text = str(cell or "").strip()
        parts = [text] if separator is None or text in audioset() else text.split(separator)  # "Chirp, tweet" is one
    return tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))


def _seconds(text: str, what: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise ValueError(f"The {what} '{text}' is not a number of seconds.") from None
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"The {what} '{text}' is not a time in the file.")
    return seconds


def find_folders(root: Path, progress: Progress = silent) -> Found:
    """Take every audio file below a folder; the folders that it lies in are its labels, the innermost first.

    Folders called train, validation and test (and the like) at the top are splits, where nothing else lies there.

    Args:
        root: the folder.
        progress: called after each file.

    Returns:
        The clips; files right in the root have no label and are problems.
    """
    found = Found(root)
    files, others = [], Counter[str]()
    for path in walk(root):
        if name_parts(path)[1] in AUDIO_ENDINGS:
            files.append(path)
        else:
            others[name_parts(path)[1] or "no ending"] += 1
    tops = {path.split("/", 1)[0] for path in files if "/" in path}
    splits = bool(tops) and all(top.lower() in SPLIT_NAMES for top in tops)
    for done, path in enumerate(files):
        progress(done, len(files), "reading headers")
        folders = path.split("/")[:-1]
        split: Split = SPLIT_NAMES[folders[0].lower()] if splits and folders else "train"
        labels = tuple(dict.fromkeys(reversed(folders[1:] if splits else folders)))
        if not labels:
            found.leave_out(path, "unlabelled", "The file lies in no class's folder, so it has no label.")
            continue
        add_file(found, path, labels, split=split)
    if others:
        kinds = ", ".join(f"{ending} ({count})" for ending, count in others.most_common(5))
        found.warnings.append(f"{others.total()} files are not audio by their ending and were passed over: {kinds}.")
    if files and not splits:
        found.warnings.append(ALL_TRAINING)
    return found
