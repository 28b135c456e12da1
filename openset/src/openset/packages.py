"""Files out of Debian packages, without installing them, and out of the archives that packages hold."""

import json
import shutil
import struct
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from querysep.errors import DataError

ARCHIVE_SUFFIX = ".d"
"""A file inside an archive is named ``archive.pk3.d/path/in/the/archive``."""


def fetch_package(package: str, cache: Path) -> Path:
    """Download a package with apt, once.

    Args:
        package: its name in Debian.
        cache: folder for downloads; made where it is missing.

    Returns:
        The ``.deb`` file.

    Raises:
        DataError: apt is missing, or knows no such package.
    """
    debs = cache / "deb"
    debs.mkdir(parents=True, exist_ok=True)
    if found := sorted(debs.glob(f"{package}_*.deb")):
        return found[-1]
    if shutil.which("apt-get") is None:
        raise DataError(f"Cannot download '{package}': there is no apt-get here. Put the .deb into '{debs}'.")
    done = subprocess.run(["apt-get", "download", package], cwd=debs, capture_output=True, text=True, check=False)
    found = sorted(debs.glob(f"{package}_*.deb"))
    if done.returncode != 0 or not found:
        raise DataError(
            f"apt-get could not download '{package}': {done.stderr.strip()[-300:]}. "
            "Run `apt-get update` and check the network."
        )
    return found[-1]


def unpack_package(deb: Path, names: Collection[str], directory: Path) -> dict[str, Path]:
    """Unpack some files of a package; what is there already is not unpacked again.

    Args:
        deb: a package file.
        names: paths inside the package, without a leading slash. A path may go through a
            zip archive, as in ``usr/share/x/0snd.pk3.d/sound/rain.ogg``.
        directory: where to unpack; nothing else is written.

    Returns:
        The unpacked files by name. Names that the package does not hold are left out.

    Raises:
        DataError: the package cannot be read.
    """
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise DataError(f"'{name}' is no path inside a package.")
    directory.mkdir(parents=True, exist_ok=True)
    record = directory / "absent.json"
    absent = set(json.loads(record.read_text())) if record.exists() else set()
    wanted = {name for name in names if name not in absent and not (directory / name).exists()}
    if wanted:
        _unpack(deb, wanted, directory)
        absent |= {name for name in wanted if not (directory / name).exists()}
        record.write_text(json.dumps(sorted(absent)))
    return {name: directory / name for name in names if (directory / name).exists()}


def _unpack(deb: Path, wanted: Collection[str], directory: Path) -> None:
    inner = _by_archive(wanted)
    process = subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    if process.stdout is None:  # pragma: no cover - PIPE was asked for
        raise DataError(f"Cannot read '{deb}'.")
    broken: tarfile.TarError | None = None
    try:
        with process.stdout, tarfile.open(fileobj=process.stdout, mode="r|") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if not member.isfile() or (name not in wanted and name not in inner):
                    continue
                content = tar.extractfile(member)
                if content is None:  # pragma: no cover - it is a file
                    continue
                if name in inner:
                    _unpack_archive(content, name, inner[name], directory)
                else:
                    _write(content.read(), directory / name)
    except tarfile.TarError as error:
        broken = error
    finally:
        code = process.wait()
    if broken is not None or code != 0:
        raise DataError(f"Cannot unpack '{deb}': {broken or f'dpkg-deb: exit {code}'}. Delete it and try again.")


def _by_archive(names: Iterable[str]) -> dict[str, set[str]]:
    """Sort names that go through an archive by that archive."""
    inner: dict[str, set[str]] = {}
    for name in names:
        parts = PurePosixPath(name).parts
        for depth, part in enumerate(parts[:-1], start=1):
            if part.endswith(ARCHIVE_SUFFIX) and is_archive(part.removesuffix(ARCHIVE_SUFFIX)):
                archive = "/".join(parts[:depth]).removesuffix(ARCHIVE_SUFFIX)
                inner.setdefault(archive, set()).add("/".join(parts[depth:]))
                break
    return inner


def _unpack_archive(content: IO[bytes], archive: str, names: set[str], directory: Path) -> None:
    """Take files out of an archive, which may be larger than the memory."""
    with tempfile.TemporaryFile(dir=directory) as copy:
        shutil.copyfileobj(content, copy)
        copy.seek(0)
        for name, inside in read_archive(cast(BinaryIO, copy), archive, names):
            _write(inside, directory / (archive + ARCHIVE_SUFFIX) / name)


def _write(content: bytes, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(content)
    part.replace(path)


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
