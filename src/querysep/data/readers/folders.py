"""A folder for each class."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from querysep.data.manifest import Split
from querysep.data.readers.found import SPLIT_NAMES, Found
from querysep.data.readers.sound import duration_s
from querysep.errors import DataError
from querysep.io.audio_reader import AUDIO_ENDINGS
from querysep.progress import Progress, silent

ALL_TRAINING = "There are no folders 'train' and 'test', so every clip counts as training."


def find_folders(root: Path, progress: Progress = silent) -> Found:
    """Take every audio file below a folder; the folders that it lies in are its labels, the innermost first.

    Folders called train, validation and test (and the like) at the top are splits, where nothing else lies there.

    Args:
        root: the folder.
        progress: told after each file.

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


def add_file(
    found: Found,
    path: str,
    labels: tuple[str, ...],
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    licence: str = "",
    source: str = "",
    origin: str | None = None,
    split: Split = "train",
    held_out: bool = False,
) -> None:
    """Add a file to what was found, its length from its header; note it as a problem where it cannot be read.

    Args:
        found: what to add to.
        path: relative to the root.
        labels: the most specific first.
        start_s: where the clip begins.
        end_s: where it ends; None: the file's end.
        licence: as in ``Clip``; so are the others.
        source: the same.
        origin: None: the file.
        split: the same.
        held_out: the same.
    """
    full = found.root / path
    try:
        length_s = duration_s(full)
    except DataError as error:
        found.leave_out(path, "unreadable" if full.exists() else "missing", str(error))
        return
    if start_s >= length_s:
        found.leave_out(path, "row", f"The clip begins at {start_s:g} s, the file ends at {length_s:.2f} s.")
        return
    stop_s = length_s if end_s is None else min(end_s, length_s)
    found.clips.add(
        path,
        labels,
        stop_s - start_s,
        start_s=start_s,
        licence=licence,
        source=source,
        origin=origin,
        split=split,
        held_out=held_out,
    )


def name_parts(path: str) -> tuple[str, str]:
    """Return a file's name without its ending, and the ending in small letters with its dot; quick, for millions."""
    stem, dot, ending = path[path.rfind("/") + 1 :].rpartition(".")
    return (stem, f".{ending.lower()}") if dot and stem else (ending, "")


def walk(root: Path) -> Iterator[str]:
    """Give the files below a folder, relative to it and with '/', in order; hidden ones are passed over."""
    stack = [""]
    while stack:
        prefix = stack.pop()
        folders = []
        try:
            with os.scandir(root / prefix if prefix else root) as entries:
                inside = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"The folder '{root / prefix}' cannot be listed: {error.strerror}.") from error
        for entry in inside:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if entry.is_dir():
                folders.append(f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name
        stack.extend(reversed(folders))
