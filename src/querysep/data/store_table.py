"""Lance tables: where they lie, how they are opened, written by one process at a time, and finished.

A table is in a folder or on an object store (``s3://bucket/prefix``). Every append is one atomic commit: a reader sees
all of it or nothing, whenever the writer dies.
"""

import json
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

from querysep.errors import ConfigError, DataError

Options: TypeAlias = Mapping[str, str]
"""Of an object store: credentials, endpoint, region; what is not given comes from the environment (``AWS_...``)."""

Dataset: TypeAlias = Any
"""A ``lance.LanceDataset``; Lance is imported when a table is used, not before."""

Schema: TypeAlias = Any
"""A ``pyarrow.Schema``."""

FACTS, COMPLETE, RUN = b"querysep", "querysep.complete", "run"
_hushed: list[Any] = []  # contexts of warnings, entered before a fork and left after it


def load_lance() -> ModuleType:
    """Import Lance.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import lance
    except ImportError as error:
        raise ConfigError("Stores and banks need the extra 'data': pip install 'querysep[data]'.") from error
    _hush_forks()
    return lance


@cache
def _hush_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hush, after_in_parent=_unhush, after_in_child=_unhush)


def _hush() -> None:
    """Hide Lance's warning at a fork: our readers never call it in a forked process (see store_apart)."""
    context = warnings.catch_warnings()
    context.__enter__()
    warnings.filterwarnings("ignore", message="lance is not fork-safe")
    _hushed.append(context)


def _unhush() -> None:
    _hushed.pop().__exit__(None, None, None)


def table_uri(location: str | Path, name: str) -> str:
    """Return where a table of a store lies: ``STORE/name.lance``, or the location itself if it is a table's."""
    text = str(location).rstrip("/")
    if text.endswith(".lance"):
        return text
    return f"{text}/{name}.lance"


def is_local(uri: str) -> bool:
    """Tell whether a table is in a folder of this machine."""
    return "://" not in uri


def has_table(uri: str, options: Options | None = None) -> bool:
    """Tell whether a table is there, finished or not.

    Raises:
        DataError: the place cannot be reached, or what lies there is damaged.
    """
    if is_local(uri) and not (Path(uri) / "_versions").is_dir():
        return False
    return find_table(uri, options, None) is not None


def open_table(uri: str, options: Options | None = None, version: int | None = None) -> Dataset:
    """Open a table.

    Raises:
        DataError: it is not there, damaged or cannot be reached.
    """
    dataset = find_table(uri, options, version)
    if dataset is None:
        raise DataError(f"There is no table '{uri}'. Make it by `querysep data pack` (clips) or `querysep mine`.")
    return dataset


def find_table(uri: str, options: Options | None = None, version: int | None = None) -> Dataset | None:
    """Open a table; None where there is none.

    Raises:
        DataError: the place cannot be reached, or what lies there is damaged.
    """
    lance = load_lance()
    try:
        with table_errors(uri, "read"):
            return lance.dataset(uri, version=version, storage_options=dict(options) if options else None)
    except DataError as error:
        cause = str(error.__cause__)
        if "was not found" in cause or "Not found" in cause:
            return None
        raise


def facts_of(dataset: Dataset, kind: str) -> dict[str, Any]:
    """Return what the writer of a table wrote down about it.

    Raises:
        DataError: the table is not of this kind.
    """
    try:
        facts = json.loads((dataset.schema.metadata or {})[FACTS])
        if facts["kind"] != kind:
            raise KeyError(kind)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"The table '{dataset.uri}' does not hold {kind} of querysep.") from error
    return dict(facts)


def is_complete(dataset: Dataset) -> bool:
    """Tell whether the writer of a table finished it."""
    facts = json.loads((dataset.schema.metadata or {})[FACTS])
    return bool(dataset.metadata.get(COMPLETE) == facts[RUN])


@contextmanager
def table_errors(uri: str, what: str) -> Iterator[None]:
    """Turn what Lance raises into our one line.

    Raises:
        DataError: the table cannot be read or written.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        told = str(error).split(", /home/")[0].split(": <?xml")[0].splitlines()  # without Rust's places and S3's pages
        reason = told[0] if told else type(error).__name__
        raise DataError(f"The table '{uri}' cannot be {what} ({reason[:300].rstrip('.')}).") from error
