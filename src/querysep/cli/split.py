"""``querysep split``: a mixture in, a stem for everything that is found in it, and the rest."""

from pathlib import Path
from typing import Annotated

import typer

from querysep.cli.options import (
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
from querysep.cli.terminal import print_table, progress_bar, show_paths, warn


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(split)


def split(
    mixture: Mixture,
    output: ResultsFolder = Path(),
    level: Annotated[
        int, typer.Option(min=1, max=3, help="1: widest groups, such as Animal; 2: families; 3: the model's classes.")
    ] = 3,
    threshold: Annotated[float, typer.Option(help="Presence that a class must reach.", min=0.01, max=1)] = 0.5,
    most: Annotated[int, typer.Option("--max", min=1, help="How many stems at most.")] = 8,
    model: ModelOption = "default",
    audio_format: FormatOption = Format.WAV,
    plot: Plot = False,
    overwrite: Overwrite = False,
    per_channel: PerChannel = False,
    device: DeviceOption = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Find out what is in a recording and take all of it apart: stems, the rest, and a table of what sounds when."""
    from querysep.pipeline import Separator
    from querysep.pipeline.found_classes import check_level
    from querysep.pipeline.split_to_files import plan_split

    plan_split(mixture, output, audio_format.value, plot=plot, overwrite=overwrite)  # or refuse
    with progress_bar(quiet=quiet) as progress:
        separator = Separator.load(model, device.value)
        files = separator.split_file(
            mixture,
            output,
            level=check_level(level),
            threshold=threshold,
            max_stems=most,
            format=audio_format.value,
            overwrite=overwrite,
            per_channel=per_channel,
            plot=plot,
            progress=progress,
        )
    warn(files.report.warnings, quiet=quiet)
    show_paths(files.paths)
    if files.report.stems:
        print_table(
            ("stem", "present_s", "presence"),
            [(one.label, f"{one.present_s:.2f}", f"{one.presence:.2f}") for one in files.report.stems],
            right=(1, 2),
        )
