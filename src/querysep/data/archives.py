"""Files inside the archives that packages hold: zip, Qt resources and OpenTTD's sample files."""

import struct
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO

from querysep.errors import DataError

ARCHIVE_SUFFIX = ".d"
"""A file inside an archive is named ``archive.pk3.d/path/in/the/archive``."""


def is_archive(name: str) -> bool:
    """Say whether files can be taken out of a file.

    Args:
        name: a path inside a package.

    Returns:
        True for the kinds that ``read_archive`` knows.
    """
    return PurePosixPath(name).suffix.lower() in _READERS


def read_archive(file: BinaryIO, name: str, wanted: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """Read files out of an archive, one after the other.

    Args:
        file: the archive; must be able to seek.
        name: of the archive; its suffix says what kind it is.
        wanted: names inside the archive; None for all files. Names that it does not hold are left out.

    Yields:
        Name and content of each file.

    Raises:
        DataError: the archive is broken, or of another kind.
    """
    reader = _READERS.get(PurePosixPath(name).suffix.lower())
    if reader is None:
        raise DataError(f"'{name}' is no archive that we can read: {', '.join(sorted(_READERS))}.")
    try:
        yield from reader(file, None if wanted is None else frozenset(wanted))
    except (zipfile.BadZipFile, zlib.error, struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"The archive '{name}' is broken: {error}.") from error


def _read_zip(file: BinaryIO, wanted: Collection[str] | None) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(file) as zipped:
        for name in zipped.namelist():
            if not name.endswith("/") and (wanted is None or name in wanted):
                yield name, zipped.read(name)


def _read_qt_resources(file: BinaryIO, wanted: Collection[str] | None) -> Iterator[tuple[str, bytes]]:
    """Read what Qt's resource compiler makes with ``--binary``: a tree of nodes, their names and their data."""
    content = file.read()
    if content[:4] != b"qres":
        raise ValueError("it does not begin with 'qres'")
    version, tree, data, names = struct.unpack_from(">4I", content, 4)
    node_size = 14 if version < 2 else 22
    waiting = [(0, "")]
    while waiting:
        index, folder = waiting.pop()
        at = tree + index * node_size
        name_at, flags = struct.unpack_from(">IH", content, at)
        if index:
            (length,) = struct.unpack_from(">H", content, names + name_at)
            start = names + name_at + 6
            name = content[start : start + 2 * length].decode("utf-16-be")
            path = f"{folder}/{name}" if folder else name
        else:
            path = ""
        if flags & 2:
            count, first = struct.unpack_from(">II", content, at + 6)
            waiting += [(first + child, path) for child in range(count)]
        elif wanted is None or path in wanted:
            (data_at,) = struct.unpack_from(">I", content, at + 10)
            yield path, _qt_data(content, data + data_at, flags)


def _qt_data(content: bytes, at: int, flags: int) -> bytes:
    (size,) = struct.unpack_from(">I", content, at)
    packed = content[at + 4 : at + 4 + size]
    if flags & 4:
        raise ValueError("zstd compression is not supported")
    return zlib.decompress(packed[4:]) if flags & 1 else packed


def _read_sample_catalogue(file: BinaryIO, wanted: Collection[str] | None) -> Iterator[tuple[str, bytes]]:
    """Read OpenTTD's ``.cat``: offset and size of each sample, then name, RIFF sound and remarks."""
    content = file.read()
    (first,) = struct.unpack_from("<I", content, 0)
    for number in range((first & 0x7FFFFFFF) // 8):
        offset, size = struct.unpack_from("<II", content, 8 * number)
        at = offset & 0x7FFFFFFF
        length = content[at]
        title = content[at + 1 : at + 1 + length].rstrip(b"\0").decode("latin-1")
        name = f"{number:02d} {title.replace('/', '-')}.wav"
        if wanted is None or name in wanted:
            start = at + 1 + length
            yield name, content[start : start + size]


_READERS: dict[str, Callable[[BinaryIO, Collection[str] | None], Iterator[tuple[str, bytes]]]] = {
    ".zip": _read_zip,
    ".pk3": _read_zip,
    ".wz": _read_zip,
    ".rcc": _read_qt_resources,
    ".cat": _read_sample_catalogue,
}
