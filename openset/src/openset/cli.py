"""The ``openset`` command: fetch and cut recordings, render instruments and scores."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from querysep.cli.terminal import progress_bar, show_paths
from querysep.errors import QuerysepError
from querysep.io.files import check_folder

USER_CAN_MEND = 2
INTERRUPTED = 130

app = typer.Typer(
    name="openset",
    help="Build the open sound set, our own training set, from Debian's packages and public repositories.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for what is fetched, some GB; by default the user's cache.", metavar="DIR"),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar and no warnings.")]


@app.command()
def build(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for clips and manifest.", metavar="DIR")],
    cache: Cache = None,
    rendered: Annotated[
        bool, typer.Option("--render/--no-render", help="Add instruments and scores rendered from free soundfonts.")
    ] = True,
    repositories: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the clips out of public repositories, with manifest.csv; without it, git fetches them.",
            metavar="FOLDER",
        ),
    ] = None,
    packages_only: Annotated[
        bool, typer.Option("--packages-only", help="Leave out what comes from public repositories.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Fetch recordings, cut and split them, render music, write the manifest; a build that was cut short goes on."""
    from openset.building import build_open_set

    _check_folders(output, cache)
    with progress_bar(quiet=quiet) as progress:
        made = build_open_set(output, cache=cache or _user_cache(), progress=progress)
    if made.skipped and not quiet:
        typer.echo(f"openset: warning: Recordings not taken: {len(made.skipped)}, such as {made.skipped[0]}.", err=True)
    typer.echo(f"{len(made.clips)} clips")
    if not packages_only:
        _add_repositories(output, cache or _user_cache(), repositories, quiet=quiet)
    if rendered:
        _render(output, cache or _user_cache(), music=True, quiet=quiet)
    show_paths([made.manifest])


@app.command()
def render(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of a set that was built.", metavar="DIR")],
    cache: Cache = None,
    music: Annotated[bool, typer.Option("--music/--no-music", help="Render scores with stems too.")] = True,
    quiet: Quiet = False,
) -> None:
    """Add instruments rendered from free soundfonts to a set: phrases, and scores with a stem for each part."""
    _check_folders(output, cache)
    _render(output, cache or _user_cache(), music=music, quiet=quiet)
    show_paths([output / "manifest.jsonl"])


def _add_repositories(output: Path, cache: Path, folder: Path | None, *, quiet: bool) -> None:
    from openset.repositories import add_repositories

    with progress_bar(quiet=quiet) as progress:
        added = add_repositories(output, cache=cache, folder=folder, progress=progress)
    if added.skipped and not quiet:
        typer.echo(f"openset: warning: Clips not taken: {len(added.skipped)}, such as {added.skipped[0]}.", err=True)
    typer.echo(f"{len(added.clips)} clips out of public repositories")


def _render(output: Path, cache: Path, *, music: bool, quiet: bool) -> None:
    from openset.rendering import render_instruments
    from openset.scores import render_music

    with progress_bar(quiet=quiet) as progress:
        clips = render_instruments(output, cache=cache, progress=progress)
    typer.echo(f"{len(clips)} phrases")
    if music:
        with progress_bar(quiet=quiet) as progress:
            pieces = render_music(output, cache=cache, progress=progress)
        typer.echo(f"{len(pieces)} excerpts of scores, {sum(len(piece.stems) for piece in pieces)} stems")
        show_paths([output / "multitrack.jsonl"])


def _check_folders(output: Path, cache: Path | None) -> None:
    """Refuse what cannot be written to, before a gigabyte is fetched."""
    for folder in (output, cache or _user_cache()):
        check_folder(folder)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openset"


def main() -> NoReturn:
    """Run the command line and leave the process."""
    sys.exit(run())


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; by default, what the process was given.

    Returns:
        The exit code: 0 done; 2 something that the user can mend, said in one line; 130 interrupted.
    """
    try:
        status = app(args=arguments, prog_name="openset", standalone_mode=False)
    except QuerysepError as error:
        return _refuse(str(error))
    except TyperException as error:
        message = error.format_message()  # empty for bare `openset`: the help has been shown
        return _refuse(f"{message.rstrip('.')}. See `openset --help`.") if message else USER_CAN_MEND
    except (KeyboardInterrupt, Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        sys.stderr.write("openset: interrupted; the same command goes on where it stopped.\n")
    return status if isinstance(status, int) else 0


def _refuse(message: str) -> int:
    sys.stderr.write(f"openset: error: {' '.join(message.split())}\n")
    return USER_CAN_MEND
