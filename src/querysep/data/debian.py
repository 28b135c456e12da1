"""Recordings out of Debian packages, without installing them."""

import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from querysep.data.archives import ARCHIVE_SUFFIX, is_archive, read_archive
from querysep.errors import DataError


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
            "Run `apt-get update` and look at the network."
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
