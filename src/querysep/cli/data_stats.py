"""``querysep data stats``: what a data set holds, in numbers and pictures."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from querysep.cli.options import AudioFolder, ClassList, DataPath, LayoutOption, Quiet
from querysep.cli.terminal import print_table, progress_bar, show_paths, warn

if TYPE_CHECKING:
    from querysep.data.statistics import Amount, Statistics

_SAMPLE_RATE = 32_000
_SPLITS = ("train", "validation", "test")


def stats(
    path: DataPath,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for stats.json and plots.", metavar="DIR")
    ] = None,
    layout: LayoutOption = None,
    audio: AudioFolder = None,
    classes: ClassList = None,
    measure: Annotated[
        int, typer.Option(help="Measure the loudness of so many clips at most; 0: count only.", min=0)
    ] = 20_000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    quiet: Quiet = False,
) -> None:
    """Tell how much there is of every class: hours, clips, origins, durations, loudness, licences."""
    from querysep.data.formats.data_set import open_recordings
    from querysep.data.statistics import measure as measure_recordings
    from querysep.data.statistics import plot_classes, plot_licences, plot_spreads
    from querysep.io.files import OutputSet

    with OutputSet(overwrite=overwrite) as outputs:
        parts = {}
        if output is not None:
            for name in ("stats.json", "classes.png", "spreads.png", "licences.png"):
                parts[name] = outputs.add(output / name)
        with progress_bar(quiet=quiet) as progress:
            opened = open_recordings(
                path, _SAMPLE_RATE, data_format=layout, audio=audio, classes=classes, progress=progress
            )
            found = measure_recordings(opened, most=measure, progress=progress)
        if parts:
            parts["stats.json"].write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
            plot_classes(found, parts["classes.png"])
            plot_spreads(found, parts["spreads.png"])
            plot_licences(found, parts["licences.png"])
    warn([*opened.warnings, *_warnings(found, len(opened.problems))], quiet=quiet)
    _show(found)
    if output is not None:
        show_paths([output / name for name in parts])


def _warnings(found: "Statistics", problems: int) -> list[str]:
    told = []
    if problems:
        told.append(f"{problems} clips could not be taken; `querysep data check` names them.")
    if found.unreadable:
        told.append(f"{len(found.unreadable)} clips cannot be read, such as {found.unreadable[0]}.")
    if found.shared_origins:
        told.append(
            f"{len(found.shared_origins)} origins lie in more than one split, such as {found.shared_origins[0]}."
        )
    return told


def _show(found: "Statistics") -> None:
    rows = []
    for one in found.classes:
        amounts = [one.splits.get(split) for split in _SPLITS]
        rows.append(
            (
                one.label + (" *" if one.held_out else ""),
                *(str(amount.clips) if amount else "" for amount in amounts),
                *(_minutes(amount) for amount in amounts),
                str(sum(one.origins.values())),
                str(one.rendered or ""),
                f"{one.duration_s.median:.1f}",
                f"{one.loudness_db.median:.0f}" if one.loudness_db else "",
            )
        )
    heads = ("class", "train", "valid.", "test", "min", "min", "min", "origins", "rendered", "median s", "dB RMS")
    print_table(heads, rows, right=range(1, len(heads)))
    typer.echo("")
    print_table(
        ("licence", "clips", "hours"),
        [(name, str(amount.clips), f"{amount.hours:.2f}") for name, amount in found.licences.items()],
        right=(1, 2),
    )
    typer.echo("")
    splits = ", ".join(f"{split} {amount.clips} clips {amount.hours:.2f} h" for split, amount in found.splits.items())
    typer.echo(f"{found.clips} clips, {found.hours:.2f} hours, {len(found.classes)} classes: {splits}")
    if any(one.held_out for one in found.classes):
        typer.echo("* held out of training")


def _minutes(amount: "Amount | None") -> str:
    return f"{60 * amount.hours:.1f}" if amount else ""
