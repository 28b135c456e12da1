"""Files out, whole or not at all: written beside their place, then renamed into it."""

import errno
import json
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from querysep.errors import OutputError

REPORT_ENDING = ".report.json"
NAME_BYTES = 255  # of a file's name, on nearly every system
_PART = re.compile(r"\..*\.querysep-[0-9a-f]{8}\.part", re.DOTALL)
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutputSet:
    """Several files that appear together; use it in a ``with`` block.

    `add` gives a temporary path beside each output. When the block ends well, all are flushed to the disk and then
    renamed; when it ends in any exception, all are deleted. What a killed run left in the same folder is deleted too.

    Args:
        overwrite: whether outputs that exist may be replaced.

    Raises:
        OutputError: an output exists, its folder cannot be written to, or the disk is full.
    """

    def __init__(self, *, overwrite: bool = False) -> None:
        self._overwrite = overwrite
        self._parts: dict[Path, Path] = {}
        self._open: list[IO[bytes]] = []  # locks that tell other runs that these parts are being written
        self._new_folders: list[Path] = []

    def add(self, path: Path) -> Path:
        """Reserve an output.

        Args:
            path: where the file shall appear; its folder is made.

        Returns:
            An empty temporary file in the same folder, to be written by the caller.

        Raises:
            OutputError: as `check_output`, or the output was added before.
        """
        check_output(path, overwrite=self._overwrite)
        if path in self._parts:
            raise OutputError(f"'{path}' is asked for twice. Give each output a file of its own.")
        try:
            self._make_folder(path.parent)
            _remove_left_parts(path.parent)
            while not self._reserve(path):
                pass
        except OSError as error:
            raise output_error(path, error) from error
        return self._parts[path]

    def _reserve(self, path: Path) -> bool:
        """Make a temporary file and lock it; False if another run took it for a left one before it was locked."""
        part = path.parent / f".{cut_name(path.name, 100)}.querysep-{secrets.token_hex(4)}.part"
        self._parts[path] = part  # known before it exists: a signal may come in between
        self._open.append(part.open("xb"))
        return _lock(self._open[-1], if_there_are_none=True) and part.exists()

    def write(self, path: Path, content: bytes) -> None:
        """Give an output its whole content; it is added if it was not.

        Raises:
            OutputError: as `add`, or the disk is full.
        """
        part = self._parts.get(path) or self.add(path)
        try:
            part.write_bytes(content)
        except OSError as error:
            raise output_error(path, error) from error

    def _make_folder(self, folder: Path) -> None:
        missing = []
        while not folder.exists():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            self._new_folders.append(new)
            new.mkdir(exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        path = next(iter(self._parts), Path())
        if kind is not None:
            self._discard()
            if isinstance(error, OSError) and error.errno in _DISK_FULL:
                raise output_error(path, error) from error
            return
        try:
            self._commit()
        except OSError as problem:
            self._discard()
            raise output_error(path, problem) from problem
        except BaseException:
            self._discard()
            raise

    def _commit(self) -> None:
        for path, part in self._parts.items():
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            check_output(path, overwrite=self._overwrite)
        if os.name == "nt":  # which does not rename what is open
            self._unlock()
        new: list[Path] = []
        try:
            for path, part in self._parts.items():
                existed = path.exists()
                part.replace(path)
                if not existed:
                    new.append(path)
        except BaseException:
            for path in new:
                path.unlink(missing_ok=True)
            raise
        self._unlock()

    def _discard(self) -> None:
        self._unlock()
        for part in self._parts.values():
            with suppress(OSError):
                part.unlink(missing_ok=True)
        for folder in reversed(self._new_folders):
            with suppress(OSError):
                folder.rmdir()

    def _unlock(self) -> None:
        for file in self._open:
            file.close()


def _lock(file: IO[bytes], *, if_there_are_none: bool) -> bool:
    """Whether an open file is locked by us now; the system gives the lock back when this process ends, however."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):
        return if_there_are_none
    return True


@cache
def _remove_left_parts(folder: Path) -> None:
    """Delete the temporary files of runs that were killed; those of living runs are locked. Once in a process."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _PART.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError), open(entry.path, "rb+") as file:  # noqa: PTH123
                    if _lock(file, if_there_are_none=False):
                        os.unlink(entry.path)  # noqa: PTH108


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise before any work where an output cannot be put.

    Raises:
        OutputError: ``path`` is a folder, or exists and may not be replaced: ``overwrite`` is False, or it is no plain
            file but a link, pipe or device; its name is too long; or its folder cannot be written to.
    """
    length = len(os.fsencode(path.name))
    if length > NAME_BYTES:
        raise OutputError(
            f"The name '{path.name}' has {length} bytes, and file systems take {NAME_BYTES}. Give a shorter name."
        )
    try:
        if path.is_dir():
            raise OutputError(f"The output '{path}' is a folder; give a file name.")
        mode = path.lstat().st_mode
    except FileNotFoundError:
        check_folder(path.parent)
        return
    except OSError as error:
        raise output_error(path, error) from error
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "no plain file"
        raise OutputError(f"'{path}' exists already and is {kind}, which is never replaced. Choose another name.")
    if not overwrite:
        raise OutputError(f"'{path}' exists already. Use --overwrite (overwrite=True) or another folder.")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Raise before any work where a folder, which may not exist yet, cannot be written to.

    Raises:
        OutputError: it, or what it lies in, is no folder or may not be written to.
    """
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise OutputError(f"'{there}' is not a folder. Choose another output folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(f"'{there}' cannot be written to. Choose another output folder.")


def output_error(path: Path, error: OSError) -> OutputError:
    """Turn the system's word into ours.

    Args:
        path: the output that failed.
        error: what the system said.

    Returns:
        The error to raise.
    """
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return OutputError(
                f"'{path}' cannot be written: the disk is full. Free some space; nothing half-written was left behind."
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return OutputError(f"'{path.parent}' cannot be written to: {error.strerror}. Choose another output folder.")
        case errno.ENOTDIR | errno.EEXIST:
            return OutputError(f"'{path.parent}' is not a folder. Choose another output folder.")
    return OutputError(f"'{path}' cannot be written: {error.strerror or error}. Choose another output folder.")


def system_name(path: Path) -> str | bytes:
    """Return a path as libsndfile takes it: in bytes, which need not be UTF-8, where the system's names are bytes."""
    return str(path) if os.name == "nt" else os.fsencode(path)


def cut_name(name: str, most: int) -> str:
    """Return the beginning of a name that has no more than so many bytes, without half a character."""
    return os.fsencode(name)[:most].decode("utf-8", "ignore")


def json_bytes(content: Any, indent: int | None = 2) -> bytes:
    """Return JSON as UTF-8, with a newline; bytes of file names that are no UTF-8 come back as Python reads it.

    Args:
        content: what `json.dumps` takes.
        indent: spaces a level; None: all in one line.
    """
    text = json.dumps(content, indent=indent, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace")  # a byte that is no UTF-8 is a lone surrogate, and so \udcXX


def results_among(names: Iterable[str]) -> frozenset[str]:
    """Return the files of a folder that `separate` and `split` wrote: ``<stem>.*`` beside ``<stem>.report.json``.

    Args:
        names: of all files in the folder.
    """
    names = tuple(names)
    stems = {name.removesuffix(REPORT_ENDING) for name in names if name.endswith(REPORT_ENDING)}

    def has_report(name: str) -> bool:
        parts = name.split(".")
        return any(".".join(parts[:end]) in stems for end in range(1, len(parts) - 1))

    return frozenset(filter(has_report, names)) if stems else frozenset()


@contextmanager
def atomic_file(path: str | Path, *, overwrite: bool = True) -> Iterator[Path]:
    """Give a temporary path that becomes ``path`` when the block ends well.

    Raises:
        OutputError: as `OutputSet`.
    """
    with OutputSet(overwrite=overwrite) as outputs:
        part = outputs.add(Path(path))
        try:
            yield part
        except OSError as error:
            raise output_error(Path(path), error) from error


def atomic_bytes(path: str | Path, content: bytes, *, overwrite: bool = True) -> None:
    """Write a whole file, or nothing.

    Raises:
        OutputError: as `OutputSet`.
    """
    with OutputSet(overwrite=overwrite) as outputs:
        outputs.write(Path(path), content)


def atomic_text(path: str | Path, text: str, *, overwrite: bool = True) -> None:
    """Write a whole UTF-8 file, or nothing.

    Raises:
        OutputError: as `OutputSet`.
    """
    atomic_bytes(path, text.encode("utf-8"), overwrite=overwrite)
