"""``querysep data pack``: clips of any data set into a store."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from querysep.cli.options import (
    AudioFolder,
    ClassList,
    DataPath,
    LayoutOption,
    Quiet,
    StorageOptions,
    parse_storage_options,
)
from querysep.cli.terminal import progress_bar, warn
from querysep.data.layouts import Layout
from querysep.errors import ConfigError

if TYPE_CHECKING:
    from querysep.data.manifest import Split

_SPLITS: tuple["Split", ...] = ("train", "validation", "test")
_SHOWN = 3


def pack(
    path: DataPath,
    store: Annotated[
        str,
        typer.Option("-o", "--output", help="Folder or s3://bucket/prefix; what was begun goes on.", metavar="STORE"),
    ],
    layout: LayoutOption = None,
    audio: AudioFolder = None,
    classes: ClassList = None,
    sample_rate: Annotated[int, typer.Option(help="Of the sound in the store, Hz.", min=1)] = 32_000,
    split: Annotated[str | None, typer.Option(help="Pack one split only.", metavar="|".join(_SPLITS))] = None,
    storage_options: StorageOptions = None,
    quiet: Quiet = False,
) -> None:
    """Pack clips into a store: fast reads from anywhere in them, here or on an object store."""
    chosen = _split(split)
    options = parse_storage_options(storage_options)
    _refuse_itself(path, store, layout)
    from querysep.data.opening import open_recordings
    from querysep.data.store.packing import pack as run

    with progress_bar(quiet=quiet) as progress:
        opened = open_recordings(
            path, sample_rate, layout=layout, split=chosen, audio=audio, classes=classes, progress=progress
        )
        packed = run(opened, store, options=options, progress=progress)
    lost = [f"{one.path}: {one.detail}" for one in opened.problems] + [
        f"{name}: {why}" for name, why in packed.unreadable
    ]
    more = (
        [f"{len(lost)} in all could not be taken. `querysep data check` tells of each."] if len(lost) > _SHOWN else []
    )
    warn([*opened.warnings, *lost[:_SHOWN], *more], quiet=quiet)
    there = packed.clips - packed.added
    typer.echo(f"{packed.added} clips packed" + (f", {there} were there" if there else ""))
    typer.echo(packed.address)


def _refuse_itself(path: str, store: str, layout: Layout | None) -> None:
    from querysep.data.store import is_store

    same = path.rstrip("/") == store.rstrip("/") or Path(path).resolve() == Path(store).resolve()
    if same and layout in (None, Layout.STORE) and is_store(path):
        raise ConfigError(
            f"'{path}' is the store itself. If clips lie there as well, name their layout (--layout manifest)."
        )


def _split(name: str | None) -> "Split | None":
    for split in _SPLITS:
        if name == split:
            return split
    if name is None:
        return None
    raise ConfigError(f"'{name}' is no split. There are: {', '.join(_SPLITS)}.")
