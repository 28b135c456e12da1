"""``querysep import-official``: from the authors' checkpoints to a weights folder."""

from pathlib import Path
from typing import Annotated

import typer

from querysep.cli.options import Quiet
from querysep.cli.terminal import progress_bar, show_paths, warn


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("import-official")(import_official)


def import_official(
    separator: Annotated[Path, typer.Option(help="The separator's checkpoint.", metavar="CKPT")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The weights folder to write.", metavar="DIR")],
    detector: Annotated[
        Path | None,
        typer.Option(help="The detector's checkpoint; not needed where the separator's holds one.", metavar="CKPT"),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="AudioSet's class_labels_indices.csv, for the names.", metavar="CSV")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Turn checkpoints of the paper's authors into a weights folder that --model takes."""
    from querysep import importing
    from querysep.io.files import check_folder

    check_folder(output)
    names = importing.read_label_csv(labels) if labels is not None else None
    with progress_bar(quiet=quiet) as progress:
        report = importing.import_official(detector, separator, output, names, progress=progress)
    if report.extra:
        warn([f"{len(report.extra)} tensors that the networks do not have: {', '.join(report.extra)}."], quiet=quiet)
    if names is None:
        warn(["the classes are numbered, not named; give --labels for their names."], quiet=quiet)
    typer.echo(f"detector from {report.detector_from}; {len(report.computed)} stored transforms and tables recomputed")
    show_paths([report.folder])
