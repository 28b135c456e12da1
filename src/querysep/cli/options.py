"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from querysep.data.formats import DataFormat
from querysep.errors import ConfigError


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class EngineName(StrEnum):
    """Where the detector runs."""

    LOCAL = "local"
    RAY = "ray"


class Format(StrEnum):
    """How results are written."""

    WAV = "wav"
    FLAC = "flac"


Mixture = Annotated[
    Path,
    typer.Argument(
        help="The recording: any length, sample rate and number of channels; - is standard input.",
        metavar="MIXTURE",
        show_default=False,
    ),
]
ResultsFolder = Annotated[Path, typer.Option("-o", "--output", help="Folder for the results.", metavar="DIR")]
FormatOption = Annotated[Format, typer.Option("--format", help="32-bit float WAV, or 24-bit FLAC.")]
Plot = Annotated[bool, typer.Option("--plot", help="Draw the spectrograms and the presence map as well.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]
PerChannel = Annotated[bool, typer.Option("--per-channel", help="A mask for each channel, rather than one for all.")]

ModelOption = Annotated[
    str, typer.Option("--model", help="A bundled model's name, or a weights folder.", metavar="NAME|DIR")
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to compute.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar and no warnings.")]

DataPath = Annotated[str, typer.Argument(help="Folder, list, manifest, HDF5 pack or store.", metavar="PATH")]
LayoutOption = Annotated[
    DataFormat | None, typer.Option(help="How the data lies there; by default found out.", show_default=False)
]
AudioFolder = Annotated[Path | None, typer.Option(help="Folder of the audio, if it is elsewhere.", metavar="DIR")]
ClassList = Annotated[
    Path | None, typer.Option(help="AudioSet's class_labels_indices.csv or ontology.json.", metavar="FILE")
]
StorageOptions = Annotated[
    list[str] | None,
    typer.Option("--storage-option", help="Of the object store, such as aws_region=eu-north-1.", metavar="KEY=VALUE"),
]
BankOption = Annotated[
    str | None,
    typer.Option(
        "--bank",
        help="Folder of your own sounds; by default QUERYSEP_BANK, or a folder of yours.",
        metavar="PLACE",
        show_default=False,
    ),
]

KeepTest = Annotated[
    bool,
    typer.Option("--keep-test", help="Where the data has no test side, spare the clips that `evaluate` would test on."),
]

EngineOption = Annotated[EngineName, typer.Option("--engine", help="Here, or on a Ray cluster.")]
Address = Annotated[
    str | None, typer.Option(help="Of the Ray cluster; by default one is started on this machine.", show_default=False)
]
Workers = Annotated[int | None, typer.Option(help="Processes on the Ray cluster, at most.", min=1, show_default=False)]


def check_engine(name: EngineName, address: str | None, workers: int | None) -> None:
    """Refuse what only the Ray engine takes.

    Raises:
        ConfigError: an address or workers without it.
    """
    if name is EngineName.LOCAL and (address is not None or workers is not None):
        raise ConfigError("--address and --workers are of the Ray engine. Add --engine ray, or leave them out.")


def parse_storage_options(pairs: list[str] | None) -> dict[str, str]:
    """Return what ``--storage-option`` gave.

    Raises:
        ConfigError: one is not of the form key=value.
    """
    options = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"'--storage-option {pair}' is not of the form key=value.")
        options[key.strip()] = value.strip()
    return options
