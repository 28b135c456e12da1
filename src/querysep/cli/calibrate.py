"""``querysep calibrate``: from when on a class counts, and how surely a queried sound is there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from querysep.cli.options import (
    AudioFolder,
    ClassList,
    DataPath,
    Device,
    DeviceOption,
    LayoutOption,
    ModelOption,
    Quiet,
)
from querysep.cli.terminal import progress_bar, show_paths, warn

if TYPE_CHECKING:
    from querysep.data.formats.data_set import OpenedRecordings
    from querysep.evaluation.calibration import Fit
    from querysep.evaluation.event_calibration import EventFit
    from querysep.model import TrainedDetector
    from querysep.progress import Progress

_NO_VALIDATION = (
    "The data set has no validation side, so the calibration was fitted on its training side. A model that was "
    "trained on these recordings finds presence too clear in them: its gate may silence sounds that are there, and the "
    "thresholds of its classes may be too high."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(calibrate)


def calibrate(
    data: DataPath,
    model: ModelOption = "default",
    mixtures: Annotated[int, typer.Option(min=20, help="How many mixtures to fit presence on.")] = 300,
    soundscapes: Annotated[
        int | None,
        typer.Option(
            min=2, help="How many soundscapes of 10 s to fit events on.", show_default="5 a class, 300 or more"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of mixtures and soundscapes.")] = 0,
    layout: LayoutOption = None,
    audio: AudioFolder = None,
    classes: ClassList = None,
    device: DeviceOption = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Fit how surely a queried sound is there, and from which probability on each class counts.

    Both are fitted on a data set's validation side and kept beside the weights. A detector's own folder gets the
    thresholds of its classes alone.
    """
    from querysep.data.formats.data_set import open_recordings
    from querysep.evaluation.calibration import fit_presence
    from querysep.io.event_calibration import write_events
    from querysep.io.files import check_folder
    from querysep.io.presence_calibration import write_presence
    from querysep.model import (
        TrainedDetector,
        bundled_models,
        choose_device,
        holds_detector,
        load_detector,
        load_model,
    )

    folder = bundled_models().get(model, Path(model))
    check_folder(folder)
    whole = None if holds_detector(folder) else load_model(model, device.value)
    detector = load_detector(folder) if whole is None else TrainedDetector(whole.detector, whole.labels)
    rate = detector.network.to(choose_device(device.value)).config.sample_rate
    with progress_bar(quiet=quiet) as progress:
        opened = open_recordings(data, rate, data_format=layout, audio=audio, classes=classes, progress=progress)
        presence = None if whole is None else fit_presence(whole, opened, mixtures, seed, progress)
        events = _fit_events(detector, opened, soundscapes, seed, whole is not None, progress, quiet)
    warn(opened.warnings, quiet=quiet)
    if "train" in {fit.split for fit in (presence, events) if fit is not None}:
        warn([_NO_VALIDATION], quiet=quiet)
    if presence is not None:
        show_paths([write_presence(folder, presence.calibration)])
        typer.echo(_told_of_presence(presence))
    if events is not None:
        show_paths([write_events(folder, events.calibration)])
        typer.echo(_told_of_events(events))


def _fit_events(
    detector: "TrainedDetector",
    opened: "OpenedRecordings",
    soundscapes: int | None,
    seed: int,
    may_fail: bool,
    progress: "Progress",
    quiet: bool,
) -> "EventFit | None":
    """Fit the thresholds; where they are not all that is wanted, a data set that does not do for them is only told."""
    from querysep.errors import DataError
    from querysep.evaluation.event_calibration import fit_events

    try:
        return fit_events(detector, opened, soundscapes, seed, progress)
    except DataError as error:
        if not may_fail:
            raise
        warn([f"The thresholds of the classes were not fitted: {error}"], quiet=quiet)
        return None


def _told_of_presence(fit: "Fit") -> str:
    return (
        f"{fit.queries} queries; present scores above absent in {100 * fit.auc:.1f} % of pairs; the gate costs present "
        f"ones {fit.lost_db:.2f} dB and closes {100 * fit.silenced:.0f} % of the absent ones"
    )


def _told_of_events(fit: "EventFit") -> str:
    return (
        f"{fit.soundscapes} soundscapes; event F1, mean of {fit.classes} classes: {fit.f1:.3f} where half of them "
        f"chose the thresholds for the other half, {fit.plain_f1:.3f} at 0.5 without filter"
    )
