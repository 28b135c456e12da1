"""``querysep detect``: what sounds when."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from querysep.cli.options import Device, DeviceOption, ModelOption, Quiet
from querysep.cli.terminal import print_table, progress_bar, show_paths, warn


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(detect)


def detect(
    audio: Annotated[
        Path, typer.Argument(help="The recording; - is standard input.", metavar="AUDIO", show_default=False)
    ],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write events here.", metavar="FILE")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write events here.", metavar="FILE")] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw spectrogram and presence map here: PNG, JPEG, PDF or SVG by the name's ending.", metavar="FILE"
        ),
    ] = None,
    threshold: Annotated[float, typer.Option(help="Presence from which on a class counts.", min=0, max=1)] = 0.5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    model: ModelOption = "default",
    device: DeviceOption = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Tell what sounds when: a table, or the files that are asked for."""
    from querysep.io.files import OutputSet, json_bytes
    from querysep.io.mixture_source import MixtureSource
    from querysep.pipeline import Detector
    from querysep.pipeline.event_table import events_csv
    from querysep.pipeline.plots import Panel, Presence, draw, picture_format

    wanted = [path for path in (json_file, csv_file, plot) if path is not None]
    drawn_as = picture_format(plot) if plot is not None else ""
    with OutputSet(overwrite=overwrite) as outputs:
        for path in wanted:
            outputs.add(path)
        detector = Detector.load(model, device.value)
        source = MixtureSource(audio)
        with progress_bar(quiet=quiet) as progress:
            presence = detector.presence(source, progress=progress)
        found = detector.events(presence, threshold)
        if json_file is not None:
            outputs.write(json_file, json_bytes([asdict(event) for event in found]))
        if csv_file is not None:
            outputs.write(csv_file, events_csv(found).encode())
        if plot is not None:
            panel = Panel(audio.name, source.readable)
            below = Presence(detector.labels, presence.framewise, presence.frame_s)
            outputs.write(plot, draw([panel], below, file_format=drawn_as))
    if wanted:
        show_paths(wanted)
        return
    print_table(
        ("onset_s", "offset_s", "score", "label"),
        [(f"{event.onset_s:.2f}", f"{event.offset_s:.2f}", f"{event.score:.2f}", event.label) for event in found],
        right=(0, 1, 2),
    )
    if not found:
        warn([f"Nothing reaches a presence of {threshold:g}. Try a lower --threshold."], quiet=quiet)
