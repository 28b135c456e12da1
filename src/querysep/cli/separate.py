"""``querysep separate``: a mixture and a query in, the target and the residual out."""

from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from querysep.cli.options import (
    BankOption,
    Device,
    DeviceOption,
    Format,
    FormatOption,
    Mixture,
    ModelOption,
    Overwrite,
    PerChannel,
    Plot,
    Quiet,
    ResultsFolder,
)
from querysep.cli.terminal import progress_bar, show_paths, warn

if TYPE_CHECKING:
    from querysep.pipeline import SeparationReport


class Combine(StrEnum):
    """What several queries give together."""

    MEAN = "mean"
    EACH = "each"
    MAX = "max"


_TOLD = 0.005  # weight; less would be shown as 0.00


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(separate)


def separate(
    mixture: Mixture,
    query: Annotated[
        list[str],
        typer.Option(
            "-q",
            "--query",
            help="What to take out: an audio file, a folder of them, label:NAME, text:WORDS, bank:NAME, or "
            "span:START-END in seconds of the mixture. May be given several times.",
            metavar="QUERY",
            show_default=False,
        ),
    ],
    not_: Annotated[
        list[str] | None,
        typer.Option(
            "--not",
            help="What to keep out of it, written as a query. May be given several times.",
            metavar="QUERY",
            show_default=False,
        ),
    ] = None,
    output: ResultsFolder = Path(),
    combine: Annotated[
        Combine,
        typer.Option(help="Several queries: one condition (mean), a target each, or the loudest mask (max)."),
    ] = Combine.MEAN,
    model: ModelOption = "default",
    audio_format: FormatOption = Format.WAV,
    plot: Plot = False,
    overwrite: Overwrite = False,
    per_channel: PerChannel = False,
    keep_absent: Annotated[
        bool, typer.Option("--keep-absent", help="Do not silence the target where the sound is surely not there.")
    ] = False,
    bank: BankOption = None,
    device: DeviceOption = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Take the sound that the queries show out of a recording; write it and everything else."""
    from querysep.pipeline import Separator
    from querysep.pipeline.to_files import plan
    from querysep.queries.query import Query

    queries = [Query.parse(words) for words in query]
    plan(mixture, queries, output, combine.value, audio_format.value, plot=plot, overwrite=overwrite)  # or refuse
    with progress_bar(quiet=quiet) as progress:
        separator = Separator.load(model, device.value, bank)
        separated = separator.separate_file(
            mixture,
            queries,
            output,
            not_=[Query.parse(words) for words in not_ or ()],
            combine=combine.value,
            format=audio_format.value,
            overwrite=overwrite,
            per_channel=per_channel,
            keep_absent=keep_absent,
            plot=plot,
            progress=progress,
        )
    for files in separated:
        warn(files.report.warnings, quiet=quiet)
        show_paths(files.paths)
        for meaning in _meanings(files.report):
            typer.echo(meaning)
        typer.echo(f"presence score: {files.report.presence:.2f}")


def _meanings(report: "SeparationReport") -> Iterator[str]:
    """Tell what words were understood as."""
    for query in (*report.queries, *report.not_queries):
        if query.kind == "text":
            classes = ", ".join(
                f"{example.name} {example.weight:.2f}" for example in query.examples if example.weight >= _TOLD
            )
            yield f"{query.text} means: {classes}"
