"""``querysep bank``: the user's own sounds, kept by name and asked for as ``bank:NAME``."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from querysep.cli.options import (
    BankOption,
    Device,
    DeviceOption,
    ModelOption,
    Quiet,
)
from querysep.cli.terminal import print_table, progress_bar, warn

if TYPE_CHECKING:
    from querysep.model import Model
    from querysep.progress import Progress
    from querysep.queries.bank import Bank, Entry
    from querysep.queries.examples import Ear

_LIKE_A_FILE = re.compile(r"[/\\]|\.[A-Za-z0-9]{2,5}$")

_bank = typer.Typer(no_args_is_help=True, help="Keep sounds of your own, and ask for them as bank:NAME.")

Names = Annotated[list[str], typer.Argument(help="Names of entries.", metavar="NAME...", show_default=False)]
BankFile = Annotated[Path, typer.Argument(help="A file that holds sounds of a bank.", metavar="FILE")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(_bank, name="bank")


@_bank.command()
def add(
    name: Annotated[str, typer.Argument(help="Of the entry, new or not.", metavar="NAME", show_default=False)],
    files: Annotated[
        list[Path],
        typer.Argument(help="Recordings of the sound, or folders of them.", metavar="FILES...", show_default=False),
    ],
    model: ModelOption = "default",
    place: BankOption = None,
    device: DeviceOption = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Keep sounds under a name: the first minute of each."""
    from querysep.model import load_model
    from querysep.queries.examples import example_files

    for file in files:
        example_files(file)
    bank = _open(place)
    bank.entries()  # before the model is loaded: a bank that cannot be read is told at once

    loaded = load_model(model, device.value)
    with progress_bar(quiet=quiet) as progress:
        added = bank.add(name, files, _ear(loaded, progress))
    warn(added.warnings, quiet=quiet)
    typer.echo(_told(added.name, added.sounds, added.there))


@_bank.command("list")
def list_entries(place: BankOption = None) -> None:
    """List the entries: how many sounds each has, how long they are together, when the last one came."""
    entries = _open(place).entries()
    rows = [
        (entry.name, str(len(entry.sounds)), f"{entry.seconds:.1f} s", entry.sounds[-1].added.replace("T", " "))
        for entry in entries
    ]
    print_table(("name", "sounds", "length", "added"), rows, right=(1, 2))


@_bank.command()
def search(
    wanted: Annotated[
        str,
        typer.Argument(help="A recording, words, or any other query without a mixture.", metavar="FILE|TEXT"),
    ],
    count: Annotated[int, typer.Option("-n", "--count", help="How many entries, at most.", min=1)] = 10,
    model: ModelOption = "default",
    place: BankOption = None,
    device: DeviceOption = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Find the entries that sound most like a recording or a description."""
    from querysep.errors import QueryError
    from querysep.model import load_model
    from querysep.queries.query import Query
    from querysep.queries.resolve import resolve

    query = Query.parse(wanted)
    if query.kind == "audio" and not Path(wanted).exists():
        if _LIKE_A_FILE.search(wanted):
            raise QueryError(f"There is no file '{wanted}'. Check its name, or write text:WORDS to search by words.")
        query = Query.words(wanted)
    bank = _open(place)
    if not bank.entries():
        raise QueryError(f"There is no sound in the bank '{bank.place}'. Add some with `querysep bank add`.")
    loaded = load_model(model, device.value)
    with progress_bar(quiet=quiet) as progress:
        ear = _ear(loaded, progress)
        labels, text_map = loaded.label_bank, loaded.text_map
        (condition,) = resolve([query], ear, labels, text_map=text_map, own_bank=bank.place)
        hits = bank.search(condition.vectors[0], ear, count)
    warn(condition.warnings, quiet=quiet)
    print_table(("name", "cosine", "nearest sound"), [(hit.name, f"{hit.cosine:.3f}", hit.source) for hit in hits])


@_bank.command()
def remove(names: Names, place: BankOption = None) -> None:
    """Remove entries with all their sounds."""
    _show(_open(place).remove(names), "removed")


@_bank.command()
def export(
    file: BankFile,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of entries; by default all.", metavar="[NAME...]", show_default=False),
    ] = None,
    place: BankOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
) -> None:
    """Write entries into one file, a ZIP archive of FLAC files, that others can import."""
    _show(_open(place).save(file, names or (), overwrite=overwrite), "exported")
    typer.echo(str(file))


@_bank.command("import")
def import_file(file: BankFile, place: BankOption = None) -> None:
    """Add the sounds of a file that `querysep bank export` wrote."""
    for added in _open(place).load(file):
        typer.echo(_told(added.name, added.sounds, added.there))


def _open(place: str | None) -> "Bank":
    from querysep.queries.bank import Bank

    return Bank(place)


def _ear(model: "Model", progress: "Progress") -> "Ear":
    from querysep.queries.examples import Ear

    return Ear(model.detector, model.device, progress=progress)


def _told(name: str, added: int, there: int) -> str:
    return f"{name}: {_sounds(added)} added" + (f", {there} there already" if there else "")


def _show(entries: "list[Entry]", what: str) -> None:
    for entry in entries:
        typer.echo(f"{entry.name}: {_sounds(len(entry.sounds))} {what}")


def _sounds(count: int) -> str:
    return f"{count} sound{'' if count == 1 else 's'}"
