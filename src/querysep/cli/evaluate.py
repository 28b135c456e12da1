"""``querysep evaluate``: numbers with their protocol."""

from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from querysep.cli.options import Device, DeviceOption, ModelOption, Quiet
from querysep.cli.terminal import progress_bar, show_paths


class Protocol(StrEnum):
    """What can be measured."""

    OPEN = "open"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(evaluate)


def evaluate(
    protocol: Annotated[Protocol, typer.Argument(help="open: SDR improvement on the open sound set's test split.")],
    data: Annotated[Path, typer.Option(help="Folder with manifest.jsonl, or the manifest itself.", metavar="PATH")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for results.json and table.", metavar="DIR")],
    model: ModelOption = "default",
    mixtures: Annotated[int, typer.Option(min=1, help="Number of mixtures of each kind.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of mixtures.")] = 0,
    device: DeviceOption = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Measure a model by a named protocol."""
    from querysep.evaluation import open_protocol
    from querysep.io.files import atomic_text
    from querysep.pipeline import Separator

    manifest = data / "manifest.jsonl" if data.is_dir() else data
    match protocol:
        case Protocol.OPEN:
            separator = Separator.load(model, device.value)
            with progress_bar(quiet=quiet) as progress:
                rows = open_protocol.evaluate_open(separator, manifest, mixtures, seed, progress)
            table = open_protocol.table(open_protocol.summarise(rows))
            output.mkdir(parents=True, exist_ok=True)
            results = open_protocol.results_json(rows, separator, seed, version("querysep"))
            atomic_text(output / "results.json", results, overwrite=True)
            atomic_text(output / "table.md", table, overwrite=True)
    typer.echo(table)
    show_paths([output / "results.json", output / "table.md"])
