"""``querysep detect``: what sounds when."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from querysep.cli.options import Device, DeviceOption, ModelOption, Quiet
from querysep.cli.terminal import print_table, progress_bar, show_paths, warn

if TYPE_CHECKING:
    from querysep.detection.events import Event
    from querysep.detection.windows import PresenceMap


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(detect)


def detect(
    audio: Annotated[Path, typer.Argument(help="The recording.", metavar="AUDIO", show_default=False)],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write events here.", metavar="FILE")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="Write events here.", metavar="FILE")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw spectrogram and presence map here (PNG).", metavar="FILE")
    ] = None,
    threshold: Annotated[float, typer.Option(help="Presence from which on a class counts.", min=0, max=1)] = 0.5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    model: ModelOption = "default",
    device: DeviceOption = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Tell what sounds when: a table, or the files that are asked for."""
    from querysep.errors import OutputError
    from querysep.io.files import OutputSet
    from querysep.pipeline import Detector
    from querysep.pipeline.event_table import events_csv

    wanted = [path for path in (json_file, csv_file, plot) if path is not None]
    if len(set(wanted)) < len(wanted):
        raise OutputError(f"'{wanted[0]}' is asked for twice. Give --json, --csv and --plot different files.")
    with OutputSet(overwrite=overwrite) as outputs:
        parts = {path: outputs.add(path) for path in wanted}
        detector = Detector.load(model, device.value)
        with progress_bar(quiet=quiet) as progress:
            presence = detector.presence(audio, progress=progress)
        found = detector.events(presence, threshold)
        if json_file is not None:
            _write(json_file, parts, _as_json(found).encode())
        if csv_file is not None:
            _write(csv_file, parts, events_csv(found).encode())
        if plot is not None:
            _write(plot, parts, _as_png(audio, presence, detector.labels))
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


def _write(path: Path, parts: Mapping[Path, Path], content: bytes) -> None:
    from querysep.io.files import output_error

    try:
        parts[path].write_bytes(content)
    except OSError as error:
        raise output_error(path, error) from error


def _as_png(audio: Path, presence: "PresenceMap", labels: Sequence[str]) -> bytes:
    from querysep.pipeline.plots import Panel, Presence, draw

    return draw([Panel(audio.name, audio)], Presence(labels, presence.framewise, presence.frame_s))


def _as_json(found: "Sequence[Event]") -> str:
    return json.dumps([asdict(event) for event in found], indent=2, ensure_ascii=False) + "\n"
