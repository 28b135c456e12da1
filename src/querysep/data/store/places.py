"""Where the files of a store lie: in a folder of this machine, or on S3, with a cache on this machine.

Whatever is written appears whole or not at all. A shard on S3 is fetched into the cache when its sound is first read,
and memory-mapped there. Arrow's S3 client has threads and locks that do not outlive a fork: a forked process that
calls it may hang for ever. So a process that was forked from one that used S3 lets a fresh process do it.
"""

import hashlib
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from querysep.errors import ConfigError, DataError
from querysep.io.files import atomic_bytes, atomic_file, check_folder, output_error

Options: TypeAlias = Mapping[str, str]
"""Of S3: ``aws_access_key_id``, ``aws_region``, ...; what is not given comes from the environment (``AWS_...``)."""

S3 = "s3://"
_ARGUMENTS = {
    "aws_access_key_id": "access_key",
    "aws_secret_access_key": "secret_key",
    "aws_session_token": "session_token",
    "aws_region": "region",
    "aws_endpoint": "endpoint_override",
    "aws_endpoint_url": "endpoint_override",
}
_CREDENTIALS = {"aws_access_key_id", "aws_secret_access_key", "aws_session_token"}
_ALLOW_HTTP = ("allow_http", "aws_allow_http")
_CACHE_GB = 50.0
_APART = "from querysep.data.store.places import serve; serve()"
_used_s3_in: list[int] = []  # the process that used S3 first, which may be one that this one was forked from


def import_arrow() -> ModuleType:
    """Import Arrow.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigError("Stores need the extra 'data': pip install 'querysep[data]'.") from error
    arrow: ModuleType = pyarrow
    return arrow


@contextmanager
def place_errors(what: str, done: str) -> Iterator[None]:
    """Turn what Arrow and the system raise into our one line.

    Raises:
        DataError: what lies there cannot be read, written, ...
    """
    try:
        yield
    except (OSError, ValueError, KeyError) as error:
        lines = str(error).splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise DataError(f"'{what}' cannot be {done} ({reason[:300].rstrip('.')}).") from error


def is_local(location: str | Path) -> bool:
    """Tell whether a place is a folder of this machine."""
    return "://" not in str(location)


def check_location(location: str | Path) -> None:
    """Refuse at once a store's folder that cannot be written to; an object store tells when it is used.

    Raises:
        OutputError: as `check_folder`.
    """
    if is_local(location):
        check_folder(Path(location))


def place_of(location: str | Path, options: Options | None = None) -> "Folder | Bucket":
    """Return the place of that name.

    Raises:
        ConfigError: it is on an object store that we cannot use, or an option is unknown.
    """
    import_arrow()
    return Folder(Path(location)) if is_local(location) else Bucket(str(location), options)


class Folder:
    """A folder of this machine.

    Attributes:
        address: the folder, absolute.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self.address = str(self._folder)

    def names(self) -> set[str]:
        """Return the names of all files and folders in it; none where it is not there."""
        try:
            return {path.name for path in self._folder.iterdir()}
        except (FileNotFoundError, NotADirectoryError):
            return set()

    def read(self, name: str) -> bytes | None:
        """Return a small file; None where it is not there."""
        try:
            return (self._folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file.

        Raises:
            OutputError: it cannot be written.
        """
        atomic_bytes(self._folder / name, content)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """Give a file to be written, which gets its name when the block ends well.

        Raises:
            OutputError: it cannot be written.
        """
        with atomic_file(self._folder / name) as part:
            yield part

    def map(self, name: str, run: str) -> Any:
        """Map a file that a run wrote into memory."""
        return import_arrow().memory_map(str(self._folder / name))

    def move(self, name: str, folder: str) -> None:
        """Move a file into a folder in this place."""
        (self._folder / folder).mkdir(exist_ok=True)
        (self._folder / name).replace(self._folder / folder / name)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self._folder / name).unlink()

    def inner(self, folder: str) -> "Folder":
        """Return a folder in this place."""
        return Folder(self._folder / folder)

    def lock(self, name: str) -> int | None:
        """Take a lock by a file; the system gives it back when this process ends, however it ends.

        Returns:
            The file's descriptor, to be closed in the end; None where the system has no locks.

        Raises:
            BlockingIOError: another process has it.
            OutputError: the file cannot be made.
        """
        path = self._folder / name
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return _lock(path, wait=False)
        except BlockingIOError:
            raise
        except OSError as error:
            raise output_error(path, error) from error


class Bucket:
    """A prefix of a bucket on S3, ``s3://bucket/prefix``.

    Attributes:
        address: as given.
    """

    def __init__(self, address: str, options: Options | None = None) -> None:
        if not address.startswith(S3):
            raise ConfigError(f"A store is a folder or {S3}bucket/prefix, not '{address}'.")
        self.address = address.rstrip("/")
        self._options = dict(options or {})
        self._arguments = _arguments(self._options)
        self._root = self.address.removeprefix(S3)
        self._files: dict[str, tuple[int, int]] = {}  # size and time of change, as they were listed
        self._client: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_client": None}

    def names(self) -> set[str]:
        """See ``Folder.names``."""
        self._files = self._apart("_list") if _was_forked() else self._list()
        return set(self._files)

    def read(self, name: str) -> bytes | None:
        """See ``Folder.read``."""
        content: bytes | None = self._apart("_read", name) if _was_forked() else self._read(name)
        return content

    def write(self, name: str, content: bytes) -> None:
        """See ``Folder.write``."""
        with self._s3.open_output_stream(self._path(name)) as file:
            file.write(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """See ``Folder.writing``; the file is on this machine first, so that only a whole one is sent."""
        from pyarrow import fs

        with _part(cache_folder(), name) as part:
            try:
                yield part
            except OSError as error:
                raise output_error(part, error) from error
            with place_errors(f"{self.address}/{name}", "written"):
                fs.copy_files(
                    str(part),
                    self._path(name),
                    source_filesystem=fs.LocalFileSystem(),
                    destination_filesystem=self._s3,
                )

    def map(self, name: str, run: str) -> Any:
        """Fetch a file that a run wrote into the cache, if it is not there, and map it into memory."""
        for _ in range(3):  # another process may clear the cache at this moment
            path = self._fetched(name, run)
            with suppress(FileNotFoundError):
                return import_arrow().memory_map(str(path))
        raise DataError(f"The cache '{cache_folder()}' is too small: what is fetched is removed at once.")

    def move(self, name: str, folder: str) -> None:
        """See ``Folder.move``."""
        self._s3.move(self._path(name), self._path(f"{folder}/{name}"))

    def remove(self, name: str) -> None:
        """See ``Folder.remove``."""
        self._s3.delete_file(self._path(name))

    def inner(self, folder: str) -> "Bucket":
        """See ``Folder.inner``."""
        return Bucket(f"{self.address}/{folder}", self._options)

    def lock(self, name: str) -> None:
        """S3 has no locks; writers notice each other by the facts that they write."""

    @property
    def _s3(self) -> Any:
        if self._client is None:
            from pyarrow import fs

            _used_s3_in[:] = _used_s3_in or [os.getpid()]
            self._client = fs.S3FileSystem(**self._arguments)
        return self._client

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _list(self) -> dict[str, tuple[int, int]]:
        from pyarrow import fs

        found = self._s3.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
        return {one.base_name: (one.size, one.mtime_ns or 0) for one in found}

    def _read(self, name: str) -> bytes | None:
        try:
            with self._s3.open_input_stream(self._path(name)) as file:
                content: bytes = file.read()
        except FileNotFoundError:
            return None
        return content

    def _fetched(self, name: str, run: str) -> Path:
        """Return a file in the cache; its name there is of the run that wrote it, its size and its time."""
        if name not in self._files:
            self.names()
        size, changed = self._files[name]
        digest = hashlib.sha256(f"{self.address} {run} {size} {changed}".encode()).hexdigest()
        path = cache_folder() / f"{digest[:20]}-{name}"
        if path.exists():
            os.utime(path)  # when it was used
            return path
        path.parent.mkdir(parents=True, exist_ok=True)
        of_file = path.parent / f".{path.name}.lock"
        lock = _lock(of_file, wait=True)
        try:
            if not path.exists():
                if _was_forked():
                    self._apart("_fetch", name, path)
                else:
                    self._fetch(name, path)
                _clear(path.parent, path)
        finally:
            of_file.unlink(missing_ok=True)
            if lock is not None:
                os.close(lock)
        return path

    def _fetch(self, name: str, path: Path) -> None:
        from pyarrow import fs

        with _part(path.parent, name) as part:
            fs.copy_files(
                self._path(name), str(part), source_filesystem=self._s3, destination_filesystem=fs.LocalFileSystem()
            )
            part.replace(path)

    def _apart(self, method: str, *arguments: Any) -> Any:
        """Call a method in a fresh process."""
        done = subprocess.run(
            [sys.executable, "-c", _APART],
            input=pickle.dumps((self, method, arguments)),
            stdout=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            raise DataError(f"The process that reads '{self.address}' for this one ended with code {done.returncode}.")
        error, result = pickle.loads(done.stdout)
        if error is not None:
            raise OSError(error)
        return result


def serve() -> None:
    """Call the method that standard input names, and write its error or result to standard output."""
    bucket, method, arguments = pickle.load(sys.stdin.buffer)
    answer: tuple[str | None, Any]
    try:
        answer = (None, getattr(bucket, method)(*arguments))
    except (OSError, ValueError) as error:
        answer = (str(error), None)
    sys.stdout.buffer.write(pickle.dumps(answer))


def cache_folder() -> Path:
    """Return where shards from S3 are kept: QUERYSEP_SHARD_CACHE, or a folder in the user's cache."""
    given = os.environ.get("QUERYSEP_SHARD_CACHE")
    return (
        Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "querysep/shards"
    )


def _clear(folder: Path, newest: Path) -> None:
    """Remove what was not used for longest until the rest is as small as QUERYSEP_SHARD_CACHE_GB says."""
    room = float(os.environ.get("QUERYSEP_SHARD_CACHE_GB") or _CACHE_GB) * 1e9
    used = sorted(((path, path.stat()) for path in folder.glob("[!.]*")), key=lambda one: -one[1].st_mtime_ns)
    for path, state in used:
        room -= state.st_size
        if room < 0 and path != newest:
            path.unlink(missing_ok=True)


@contextmanager
def _part(folder: Path, name: str) -> Iterator[Path]:
    """Give a file of this process's own, which is gone in the end unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, path = tempfile.mkstemp(dir=folder, prefix=f".{name}.", suffix=".part")
    os.close(handle)
    try:
        yield Path(path)
    finally:
        Path(path).unlink(missing_ok=True)


def _lock(path: Path, *, wait: bool) -> int | None:
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise
    except (ImportError, OSError):  # no such locks on this system
        os.close(handle)
        return None
    return handle


def _was_forked() -> bool:
    return bool(_used_s3_in) and _used_s3_in[0] != os.getpid()


def _arguments(options: Options) -> dict[str, Any]:
    """Return what Arrow's S3 client takes.

    Raises:
        ConfigError: an option is unknown, or a connection without encryption was not allowed.
    """
    unknown = set(options) - set(_ARGUMENTS) - set(_ALLOW_HTTP)
    if unknown:
        names = ", ".join([*_ARGUMENTS, _ALLOW_HTTP[0]])
        raise ConfigError(f"'{min(unknown)}' is no option of an object store. There are: {names}.")
    known = dict(options)
    for name in _ARGUMENTS:
        if name.upper() in os.environ and not (name in _CREDENTIALS and _CREDENTIALS & set(options)):
            known.setdefault(name, os.environ[name.upper()])
    arguments: dict[str, Any] = {_ARGUMENTS[name]: value for name, value in known.items() if name in _ARGUMENTS}
    endpoint = urlsplit(arguments.get("endpoint_override", ""))
    if endpoint.netloc:
        arguments["endpoint_override"], arguments["scheme"] = endpoint.netloc, endpoint.scheme
    allowed = [options.get(name) or os.environ.get(f"AWS_{name.removeprefix('aws_').upper()}") for name in _ALLOW_HTTP]
    if endpoint.scheme == "http" and "true" not in {str(one).lower() for one in allowed}:
        raise ConfigError(f"The endpoint '{endpoint.netloc}' is not encrypted; say allow_http=true if that is meant.")
    return arguments
