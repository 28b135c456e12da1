"""``querysep data``: build training sets."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from querysep.cli import data_check, data_pack, data_stats
from querysep.cli.options import Quiet
from querysep.cli.terminal import progress_bar, show_paths, warn
from querysep.errors import ConfigError

data = typer.Typer(help="Build training sets.", no_args_is_help=True)


class DataSet(StrEnum):
    """What can be built."""

    OPEN = "open"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(data, name="data")
    data.command()(data_check.check)
    data.command()(data_stats.stats)
    data.command()(data_pack.pack)


@data.callback()
def _group() -> None:
    """Build training sets."""


Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for what is fetched, some GB; by default the user's cache.", metavar="DIR"),
]


@data.command()
def build(
    name: Annotated[DataSet, typer.Argument(help="open: real recordings under free licences.", metavar="SET")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for clips and manifest.", metavar="DIR")],
    cache: Cache = None,
    rendered: Annotated[
        bool, typer.Option("--render/--no-render", help="Add instruments and scores rendered from free soundfonts.")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Fetch recordings, cut and split them, render music, write the manifest; a build that was cut short goes on."""
    from querysep.data.open_set import build_open_set

    match name:
        case DataSet.OPEN:
            if rendered:
                _need_music21("--no-render")
            with progress_bar(quiet=quiet) as progress:
                made = build_open_set(output, cache=cache or _user_cache(), progress=progress)
            if made.skipped:
                warn([f"Recordings not taken: {len(made.skipped)}, such as {made.skipped[0]}."], quiet=quiet)
            typer.echo(f"{len(made.clips)} clips")
            if rendered:
                _render(output, cache or _user_cache(), music=True, quiet=quiet)
            show_paths([made.manifest])


@data.command()
def render(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of a set that was built.", metavar="DIR")],
    cache: Cache = None,
    music: Annotated[
        bool, typer.Option("--music/--no-music", help="Render scores with stems too (needs the data extra).")
    ] = True,
    quiet: Quiet = False,
) -> None:
    """Add instruments rendered from free soundfonts to a set: phrases, and scores with a stem for each part."""
    if music:
        _need_music21("--no-music")
    _render(output, cache or _user_cache(), music=music, quiet=quiet)
    show_paths([output / "manifest.jsonl"])


def _render(output: Path, cache: Path, *, music: bool, quiet: bool) -> None:
    from querysep.data.rendering import render_instruments
    from querysep.data.rendering_music import render_music

    with progress_bar(quiet=quiet) as progress:
        clips = render_instruments(output, cache=cache, progress=progress)
    typer.echo(f"{len(clips)} phrases")
    if music:
        with progress_bar(quiet=quiet) as progress:
            pieces = render_music(output, cache=cache, progress=progress)
        typer.echo(f"{len(pieces)} excerpts of scores, {sum(len(piece.stems) for piece in pieces)} stems")
        show_paths([output / "multitrack.jsonl"])


def _need_music21(otherwise: str) -> None:
    """Tell what is missing before hours of work, not after."""
    from importlib.util import find_spec

    if find_spec("music21") is None:
        raise ConfigError(
            f"Scores need the extra 'data': pip install 'querysep[data]'. Or leave them out: {otherwise}."
        )


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "querysep"
