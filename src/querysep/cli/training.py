"""``querysep train``: from labelled clips to a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from querysep.cli.options import Quiet
from querysep.cli.terminal import progress_bar, show_paths, warn
from querysep.errors import ConfigError

if TYPE_CHECKING:
    from querysep.data.formats.data_set import OpenedRecordings
    from querysep.training.config import TrainingConfig

SettingsT = TypeVar("SettingsT", bound="TrainingConfig")

train = typer.Typer(help="Train a detector on weak labels, then a separator on mined anchors.", no_args_is_help=True)

Data = Annotated[
    str, typer.Option(help="A data set of any layout, or a store: folder or s3:// address.", metavar="PATH")
]
Output = Annotated[
    Path, typer.Option("-o", "--output", help="Folder of the run; a started run goes on.", metavar="DIR")
]
Preset = Annotated[str, typer.Option(help="Shape of the networks: a preset's name or a YAML file.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A training setting, such as minutes=30.", metavar="KEY=VALUE")
]
DetectorFolder = Annotated[Path, typer.Option("--detector", help="Weights folder of the detector.", metavar="DIR")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(train, name="train")


@train.callback()
def _group() -> None:
    """Train a detector on weak labels, then a separator on mined anchors."""


@train.command("detector")
def train_detector(
    data: Data,
    output: Output,
    preset: Preset = "default",
    start: Annotated[
        Path | None, typer.Option("--from", help="Weights to begin from: a detector's or a model's.", metavar="DIR")
    ] = None,
    settings: Settings = None,
    quiet: Quiet = False,
) -> None:
    """Train the detector on the clips of a data set."""
    _need_lightning()
    from querysep.data.clips import hold
    from querysep.data.formats.data_set import open_recordings
    from querysep.model import load_detector, load_preset
    from querysep.training import detector
    from querysep.training.batches import Crowd
    from querysep.training.config import DetectorTraining

    training = _settings(DetectorTraining, settings or [])
    first = Crowd.here().rank == 0
    quiet = quiet or not first
    with progress_bar(quiet=quiet) as progress:
        shape = load_preset(preset).detector
        opened = open_recordings(data, shape.sample_rate, progress=progress)
        warn([*opened.warnings, *_left_out(opened)], quiet=quiet)
        recordings = hold(opened, lambda clip: clip.split != "test" and not clip.held_out, progress=progress)
        weights = detector.train_detector(
            recordings, shape, training, output, load_detector(start) if start else None, progress
        )
    show_paths([weights] if first else [])


@train.command("separator")
def train_separator(
    data: Annotated[
        str, typer.Option("--data", "--anchors", help="Store with anchors from `querysep mine`.", metavar="STORE")
    ],
    detector: DetectorFolder,
    output: Output,
    preset: Preset = "default",
    start: Annotated[
        Path | None, typer.Option("--from", help="Model whose separator to begin from.", metavar="NAME|DIR")
    ] = None,
    settings: Settings = None,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "my-model",
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the model card.")] = "not stated",
    trained_on: Annotated[str, typer.Option(help="Recordings, for the model card.")] = "not stated",
    quiet: Quiet = False,
) -> None:
    """Train the separator on mined anchors, and write the whole model."""
    _need_lightning()
    from querysep.model import load_detector, load_model, load_preset
    from querysep.training import separator
    from querysep.training.batches import Crowd
    from querysep.training.config import SeparatorTraining

    training = _settings(SeparatorTraining, settings or [])
    first = Crowd.here().rank == 0
    quiet = quiet or not first
    provenance = separator.Provenance(name, licence, trained_on)
    with progress_bar(quiet=quiet) as progress:
        weights = separator.train_separator(
            data,
            load_detector(detector),
            load_preset(preset).separator,
            training,
            output,
            provenance,
            progress,
            start=load_model(start, "cpu") if start else None,
        )
    show_paths([weights] if first else [])


@train.command("adapt")
def adapt(
    data: Data,
    output: Output,
    start: Annotated[Path, typer.Option("--from", help="Model to begin from.", metavar="NAME|DIR")] = Path("default"),
    minutes: Annotated[float, typer.Option(min=0.01, help="Of training; reading and mining come on top.")] = 40.0,
    name: Annotated[str, typer.Option(help="Name of the model.")] = "my-model",
    licence: Annotated[str, typer.Option(help="Licence of the weights, for the model card.")] = "not stated",
    trained_on: Annotated[str, typer.Option(help="Recordings, for the model card.")] = "not stated",
    quiet: Quiet = False,
) -> None:
    """Teach a model the classes of your own recordings: a folder for each class, or any other layout."""
    _need_lightning()
    from querysep.data.clips import hold
    from querysep.data.formats.data_set import open_recordings
    from querysep.model import load_model
    from querysep.training.adapting import adapt as run
    from querysep.training.separator import Provenance

    model = load_model(start, "cpu")
    with progress_bar(quiet=quiet) as progress:
        opened = open_recordings(data, model.detector.config.sample_rate, progress=progress)
        warn([*opened.warnings, *_left_out(opened)], quiet=quiet)
        recordings = hold(opened, lambda clip: clip.split != "test" and not clip.held_out, progress=progress)
        weights = run(recordings, model, minutes, output, Provenance(name, licence, trained_on), progress)
    show_paths([weights])


def _left_out(opened: "OpenedRecordings") -> list[str]:
    count = len(opened.problems)
    return [f"{count} clips cannot be used; `querysep data check` lists them."] if count else []


def _need_lightning() -> None:
    from importlib.util import find_spec

    if find_spec("lightning") is None:
        raise ConfigError("Training needs the extra 'train': pip install 'querysep[train]'.")


def _settings(kind: type[SettingsT], pairs: Sequence[str]) -> SettingsT:
    """Return training settings from ``key=value`` pairs, values as in YAML."""
    import yaml
    from pydantic import ValidationError

    from querysep.model import first_problem

    values: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator:
            raise ConfigError(f"'--set {pair}' is not of the form key=value.")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"The value in '--set {pair}' cannot be read. Write a number, a word or a list."
            ) from error
    try:
        return kind(**values)
    except ValidationError as error:
        known = ", ".join(kind.model_fields)
        raise ConfigError(f"A training setting is wrong: {first_problem(error)}. Known settings: {known}.") from error
