"""Files out, whole or not at all: written beside their place, then renamed into it."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from querysep.errors import OutputError


class OutputSet:
    """Several files that appear together; use it in a ``with`` block.

    `add` gives a temporary path beside each output. When the block ends well, all are flushed to the disk and then
    renamed; when it ends in any exception, all are deleted.

    Args:
        overwrite: whether outputs that exist may be replaced.

    Raises:
        OutputError: an output exists, its folder cannot be written to, or the disk is full.
    """

    def __init__(self, *, overwrite: bool = False) -> None:
        self._overwrite = overwrite
        self._parts: list[tuple[Path, Path]] = []
        self._new_folders: list[Path] = []

    def add(self, path: Path) -> Path:
        """Reserve an output.

        Args:
            path: where the file shall appear; its folder is made.

        Returns:
            An empty temporary file in the same folder, to be written by the caller.

        Raises:
            OutputError: the output exists or is a folder, or its folder cannot be written to.
        """
        check_output(path, overwrite=self._overwrite)
        try:
            self._make_folder(path.parent)
            part = path.parent / f".{path.name[:100]}.{secrets.token_hex(4)}.part"
            self._parts.append((part, path))  # known before it exists: a signal may come in between
            part.open("xb").close()
        except OSError as error:
            raise output_error(path, error) from error
        return part

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
        if kind is not None:
            self._discard()
            return
        try:
            self._commit()
        except OSError as problem:
            self._discard()
            raise output_error(self._parts[0][1], problem) from problem
        except BaseException:
            self._discard()
            raise

    def _commit(self) -> None:
        for part, path in self._parts:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            check_output(path, overwrite=self._overwrite)
        new: list[Path] = []
        try:
            for part, path in self._parts:
                existed = path.exists()
                part.replace(path)
                if not existed:
                    new.append(path)
        except BaseException:
            for path in new:
                path.unlink(missing_ok=True)
            raise

    def _discard(self) -> None:
        for part, _ in self._parts:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        for folder in reversed(self._new_folders):
            with suppress(OSError):
                folder.rmdir()


def check_output(path: Path, *, overwrite: bool) -> None:
    """Raise before any work where an output cannot be put.

    Raises:
        OutputError: ``path`` is a folder, or exists and ``overwrite`` is False.
    """
    try:
        if path.is_dir():
            raise OutputError(f"The output '{path}' is a folder; give a file name.")
        if path.exists() and not overwrite:
            raise OutputError(f"'{path}' exists already. Use --overwrite (overwrite=True) or another folder.")
    except OSError as error:
        raise output_error(path, error) from error


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
                f"'{path}' cannot be written: the disk is full. Free some space; nothing was left behind."
            )
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return OutputError(f"'{path.parent}' cannot be written to: {error.strerror}. Choose another output folder.")
        case errno.ENOTDIR | errno.EEXIST:
            return OutputError(f"'{path.parent}' is not a folder. Choose another output folder.")
    return OutputError(f"'{path}' cannot be written: {error.strerror or error}. Choose another output folder.")


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
    with atomic_file(path, overwrite=overwrite) as part:
        part.write_bytes(content)


def atomic_text(path: str | Path, text: str, *, overwrite: bool = True) -> None:
    """Write a whole UTF-8 file, or nothing.

    Raises:
        OutputError: as `OutputSet`.
    """
    atomic_bytes(path, text.encode("utf-8"), overwrite=overwrite)
