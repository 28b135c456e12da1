"""``querysep calibrate``: make the presence score of a model a probability."""

from pathlib import Path
from typing import Annotated

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

_NO_VALIDATION = (
    "The data set has no validation side, so the calibration was fitted on its training side. A model that was "
    "trained on these recordings finds presence too clear in them: its gate may silence sounds that are there."
)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(calibrate)


def calibrate(
    data: DataPath,
    model: ModelOption = "default",
    mixtures: Annotated[int, typer.Option(min=20, help="How many mixtures to fit on.")] = 300,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of mixtures.")] = 0,
    layout: LayoutOption = None,
    audio: AudioFolder = None,
    classes: ClassList = None,
    device: DeviceOption = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Fit how surely a queried sound is there, on mixtures of a data set's validation side; kept beside the weights."""
    from querysep.data.formats.data_set import open_recordings
    from querysep.evaluation.calibration import fit_presence
    from querysep.io.presence_calibration import write_presence
    from querysep.model import bundled_models, load_model

    loaded = load_model(model, device.value)
    rate = loaded.detector.config.sample_rate
    with progress_bar(quiet=quiet) as progress:
        opened = open_recordings(data, rate, data_format=layout, audio=audio, classes=classes, progress=progress)
        fit = fit_presence(loaded, opened, mixtures, seed, progress)
    warn(opened.warnings, quiet=quiet)
    if fit.split == "train":
        warn([_NO_VALIDATION], quiet=quiet)
    show_paths([write_presence(bundled_models().get(model, Path(model)), fit.calibration)])
    typer.echo(
        f"{fit.queries} queries; present scores above absent in {100 * fit.auc:.1f} % of pairs; the gate costs present "
        f"ones {fit.lost_db:.2f} dB and closes {100 * fit.silenced:.0f} % of the absent ones"
    )
