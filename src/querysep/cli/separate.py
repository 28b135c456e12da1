"""``querysep separate``: a mixture and a query in, the target and the residual out."""

from collections.abc import Iterator, Sequence
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
from querysep.progress import Progress

if TYPE_CHECKING:
    from querysep.pipeline import SeparatedFiles, SeparationReport, Separator


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
    from querysep.io.files import check_output
    from querysep.pipeline import Separator
    from querysep.pipeline.to_files import plan
    from querysep.queries.query import Query

    queries = [Query.parse(words) for words in query]
    if plot:
        for place in plan(mixture, queries, output, combine.value, audio_format.value):
            check_output(_picture_path(place.target), overwrite=overwrite)
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
            progress=progress,
        )
        pictures = _draw(separator, mixture, separated, progress) if plot else [None] * len(separated)
    for files, picture in zip(separated, pictures, strict=True):
        warn(files.report.warnings, quiet=quiet)
        show_paths(path for path in (files.target, files.residual, files.report_path, picture) if path is not None)
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


def _picture_path(target: Path) -> Path:
    """``<stem>.target.wav`` has its picture in ``<stem>.png``."""
    return target.with_name(target.name.removesuffix(f".target{target.suffix}") + ".png")


def _draw(
    separator: "Separator", mixture: Path, separated: "Sequence[SeparatedFiles]", progress: Progress
) -> list[Path | None]:
    """Write a picture beside the files of each separation."""
    from querysep.io.files import atomic_bytes
    from querysep.pipeline.plots import Panel, Presence, draw

    heard = separator.detector.presence(mixture, progress=progress)
    presence = Presence(separator.detector.labels, heard.framewise, heard.frame_s)
    written: list[Path | None] = []
    for files in separated:
        picture = _picture_path(files.target)
        panels = [Panel("Mixture", mixture), Panel("Target", files.target), Panel("Residual", files.residual)]
        atomic_bytes(picture, draw(panels, presence))
        written.append(picture)
    return written
