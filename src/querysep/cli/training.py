"""``querysep train``: from labelled clips to a model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from querysep.cli.options import KeepTest, Quiet
from querysep.cli.terminal import progress_bar, show_paths, warn
from querysep.errors import ConfigError

if TYPE_CHECKING:
    from querysep.data.recordings import Recordings
    from querysep.progress import Progress
    from querysep.training.config import TrainingConfig
    from querysep.training.run_folder import RunRecord, RunRequest
    from querysep.training.separator import Provenance

SettingsT = TypeVar("SettingsT", bound="TrainingConfig")

_FINETUNE_MINUTES = 40.0

train = typer.Typer(help="Train a detector on weak labels, then a separator on mined anchors.", no_args_is_help=True)

Data = Annotated[
    str | None,
    typer.Option(help="A data set of any layout, or a store: folder or s3:// address.", metavar="PATH"),
]
Output = Annotated[
    Path,
    typer.Option(
        "-o",
        "--output",
        help="Folder of the run. A run that is there goes on, with its own settings where no others are given; a "
        "finished one, with more steps or minutes.",
        metavar="DIR",
    ),
]
Preset = Annotated[
    str | None, typer.Option(help="Shape of the networks: a preset's name or a YAML file. [default: default]")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="A training setting, such as minutes=30.", metavar="KEY=VALUE")
]
Config = Annotated[
    list[Path] | None,
    typer.Option(
        help="Settings from a file, such as the run.yaml of another run; of several the last counts, --set more.",
        metavar="FILE",
    ),
]
Change = Annotated[
    bool, typer.Option("--change", help="Go on with other settings or data than the run was begun with.")
]
Minutes = Annotated[
    float | None,
    typer.Option(min=0.01, help="Of training; reading and mining come on top. [default: 40, or as the run began]"),
]
ModelName = Annotated[str | None, typer.Option(help="Name of the model. [default: my-model]")]
License = Annotated[
    str | None, typer.Option("--licence", help="License of the weights, for the model card. [default: not stated]")
]
TrainedOn = Annotated[str | None, typer.Option(help="Recordings, for the model card. [default: not stated]")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(train, name="train")


@train.callback()
def _group() -> None:
    """Train a detector on weak labels, then a separator on mined anchors."""


@train.command("detector")
def train_detector(
    output: Output,
    data: Data = None,
    preset: Preset = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="Weights to begin from: a detector's or a model's.", metavar="DIR")
    ] = None,
    config: Config = None,
    settings: Settings = None,
    change: Change = False,
    keep_test: KeepTest = False,
    quiet: Quiet = False,
) -> None:
    """Train the detector on the clips of a data set."""
    _need_lightning()
    from pydantic import TypeAdapter

    from querysep.detection.config import DetectorConfig
    from querysep.io.files import check_folder
    from querysep.model import load_detector, load_preset
    from querysep.training import detector
    from querysep.training.batches import Crowd
    from querysep.training.config import DetectorTraining
    from querysep.training.run_folder import read_run
    from querysep.training.runner import check_device

    check_folder(output)
    stored = read_run(output, "detector")
    preset, training = _asked(DetectorTraining, stored, preset, config, settings)
    check_device(training)
    shape = (
        load_preset(preset).detector
        if preset or not stored
        else TypeAdapter(DetectorConfig).validate_python(stored.network)
    )
    request = _request(stored, preset, change, data=data, start=start)
    first = Crowd.here().rank == 0
    quiet = quiet or not first
    with progress_bar(quiet=quiet) as progress:
        recordings = _read(_need(request.data, "--data"), shape.sample_rate, keep_test, progress, quiet=quiet)
        begin = load_detector(Path(request.start)) if request.start else None
        weights = detector.train_detector(recordings, shape, training, output, begin, progress, request=request)
    _show(weights, stored, output, quiet=quiet, first=first)


@train.command("separator")
def train_separator(
    output: Output,
    data: Annotated[
        str | None,
        typer.Option("--data", "--anchors", help="Store with anchors from `querysep mine`.", metavar="STORE"),
    ] = None,
    detector: Annotated[
        Path | None, typer.Option("--detector", help="Weights folder of the detector.", metavar="DIR")
    ] = None,
    preset: Preset = None,
    start: Annotated[
        Path | None, typer.Option("--from", help="Model whose separator to begin from.", metavar="NAME|DIR")
    ] = None,
    config: Config = None,
    settings: Settings = None,
    change: Change = False,
    name: ModelName = None,
    licence: License = None,
    trained_on: TrainedOn = None,
    quiet: Quiet = False,
) -> None:
    """Train the separator on mined anchors, and write the whole model."""
    _need_lightning()
    from pydantic import TypeAdapter

    from querysep.io.files import check_folder
    from querysep.model import load_detector, load_model, load_preset
    from querysep.separation.config import SeparatorConfig
    from querysep.training import separator
    from querysep.training.batches import Crowd
    from querysep.training.config import SeparatorTraining
    from querysep.training.run_folder import read_run
    from querysep.training.runner import check_device

    check_folder(output)
    stored = read_run(output, "separator")
    preset, training = _asked(SeparatorTraining, stored, preset, config, settings)
    check_device(training)
    kept = TypeAdapter(SeparatorConfig)
    shape = load_preset(preset).separator if preset or not stored else kept.validate_python(stored.network)
    request = _request(stored, preset, change, data=data, detector=detector, start=start)
    first = Crowd.here().rank == 0
    quiet = quiet or not first
    with progress_bar(quiet=quiet) as progress:
        weights = separator.train_separator(
            _need(request.data, "--data"),
            load_detector(Path(_need(request.detector, "--detector"))),
            shape,
            training,
            output,
            _provenance(stored, name, licence, trained_on),
            progress,
            start=load_model(request.start, "cpu") if request.start else None,
            request=request,
        )
    _show(weights, stored, output, quiet=quiet, first=first)


@train.command("finetune")
def finetune(
    data: Annotated[
        str, typer.Option(help="A data set of any layout, or a store: folder or s3:// address.", metavar="PATH")
    ],
    output: Output,
    start: Annotated[Path, typer.Option("--from", help="Model to begin from.", metavar="NAME|DIR")] = Path("default"),
    minutes: Minutes = None,
    settings: Settings = None,
    change: Change = False,
    keep_test: KeepTest = False,
    name: ModelName = None,
    licence: License = None,
    trained_on: TrainedOn = None,
    quiet: Quiet = False,
) -> None:
    """Teach a model the classes of your own recordings: a folder for each class, or any other layout."""
    _need_lightning()
    from querysep.io.files import check_folder
    from querysep.model import load_model
    from querysep.training.finetuning import finetune as run
    from querysep.training.finetuning import finetune_settings, minutes_of
    from querysep.training.run_folder import RunRequest, read_run
    from querysep.training.runner import check_device

    check_folder(output)
    stage = output / "separator"
    stored, given = read_run(stage), _pairs(settings)
    minutes = minutes or minutes_of(output) or _FINETUNE_MINUTES
    check_device(finetune_settings(minutes, given)[1])
    model = load_model(start, "cpu")
    request = RunRequest(data=data, start=_located(start), change=change)
    with progress_bar(quiet=quiet) as progress:
        recordings = _read(data, model.detector.config.sample_rate, keep_test, progress, quiet=quiet)
        provenance = _provenance(stored, name, licence, trained_on)
        weights = run(recordings, model, minutes, output, provenance, progress, given=given, request=request)
    _show(weights, stored, stage, quiet=quiet, first=True)


@train.command("adapt", hidden=True)
def adapt(
    data: Annotated[str, typer.Option()],
    output: Output,
    start: Annotated[Path, typer.Option("--from")] = Path("default"),
    minutes: Minutes = None,
    name: ModelName = None,
    licence: License = None,
    trained_on: TrainedOn = None,
    quiet: Quiet = False,
) -> None:
    """Do what `finetune` does; its name until version 0.1."""
    warn(["`querysep train adapt` is now `querysep train finetune`; the old name will go."], quiet=quiet)
    finetune(data, output, start, minutes, name=name, licence=licence, trained_on=trained_on, quiet=quiet)


def _asked(
    kind: type[SettingsT],
    stored: "RunRecord | None",
    preset: str | None,
    configs: Sequence[Path] | None,
    pairs: list[str] | None,
) -> tuple[str, SettingsT]:
    """Return the preset, "" for that of the run which goes on, and the settings."""
    from querysep.training.run_folder import read_config, settings_of

    of_files: dict[str, Any] = {}
    of_preset = ""
    for path in configs or ():
        named, values = read_config(path)
        of_preset, of_files = named or of_preset, of_files | values
    preset = preset or of_preset or ("" if stored else "default")
    if preset.endswith((".yaml", ".yml")):
        preset = str(Path(preset).resolve())
    return preset, settings_of(kind, stored, of_files, _pairs(pairs))


def _request(
    stored: "RunRecord | None",
    preset: str,
    change: bool,
    *,
    data: str | None,
    detector: Path | None = None,
    start: Path | None = None,
) -> "RunRequest":
    """Return where everything is, by the options, or as the run which goes on says."""
    from querysep.training.run_folder import RunRequest

    def place(given: str | Path | None, name: str) -> str:
        source = getattr(stored, name, None)
        return _located(given) if given is not None else source.location if source is not None else ""

    return RunRequest(
        preset=preset or (stored.preset if stored else ""),
        data=place(data, "data"),
        detector=place(detector, "detector"),
        start=place(start, "start"),
        change=change,
    )


def _located(place: str | Path) -> str:
    """Return a path from the root, or the name or address that it is."""
    return str(Path(place).resolve()) if Path(place).exists() else str(place)


def _need(value: str, option: str) -> str:
    if not value:
        raise ConfigError(f"Missing option '{option}'. Only a run that is there goes on without it.")
    return value


def _read(data: str, sample_rate: int, keep_test: bool, progress: "Progress", *, quiet: bool) -> "Recordings":
    """Read the clips to train on, and say what is left out."""
    from querysep.data.clips import hold
    from querysep.data.formats.data_set import open_recordings

    opened = open_recordings(data, sample_rate, keep_test=keep_test, progress=progress)
    broken = [(one.path, one.detail) for one in opened.problems if one.kind in ("missing", "unreadable")]
    others = len(opened.problems) - len(broken)
    recordings = hold(
        opened, lambda clip: clip.split != "test" and not clip.held_out, progress=progress, unreadable=broken
    )
    warn(opened.warnings, quiet=quiet)
    if recordings.unreadable:
        path, why = recordings.unreadable[0]
        said = f"{len(recordings.unreadable)} of the clips cannot be read and are left out, such as '{path}': {why}"
        warn([f"{said.rstrip('.')}. `querysep data check` lists them."], quiet=quiet)
    if others:
        warn([f"{others} clips cannot be used; `querysep data check` lists them."], quiet=quiet)
    return recordings


def _provenance(
    stored: "RunRecord | None", name: str | None, licence: str | None, trained_on: str | None
) -> "Provenance":
    from querysep.training.separator import Provenance

    before = stored.model if stored else {}
    return Provenance(
        name or before.get("name", "my-model"),
        licence or before.get("licence", "not stated"),
        trained_on or before.get("trained_on", "not stated"),
    )


def _show(weights: Path, stored: "RunRecord | None", folder: Path, *, quiet: bool, first: bool) -> None:
    """Print where the weights are, and say so where nothing was left to do."""
    from querysep.training.run_folder import read_run

    now = read_run(folder)
    if stored is not None and now is not None and stored.finished_step == now.finished_step is not None:
        warn(
            [f"This run is finished, after step {now.finished_step}. It goes on with more steps or minutes."],
            quiet=quiet,
        )
    show_paths([weights] if first else [])


def _need_lightning() -> None:
    from importlib.util import find_spec

    if find_spec("lightning") is None:
        raise ConfigError("Training needs the extra 'train': pip install 'querysep[train]'.")


def _pairs(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Return settings from ``key=value`` pairs, values as in YAML."""
    import yaml

    values: dict[str, Any] = {}
    for pair in pairs or ():
        key, separator, value = pair.partition("=")
        if not separator:
            raise ConfigError(f"'--set {pair}' is not of the form key=value.")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"The value in '--set {pair}' cannot be read. Write a number, a word or a list."
            ) from error
    return values
