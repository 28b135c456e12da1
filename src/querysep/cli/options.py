"""Options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from querysep.data.layouts import Layout


class Device(StrEnum):
    """Where to compute."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


ModelOption = Annotated[
    str, typer.Option("--model", help="A bundled model's name, or a weights folder.", metavar="NAME|DIR")
]
DeviceOption = Annotated[Device, typer.Option("--device", help="Where to compute.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bar and no warnings.")]

DataPath = Annotated[str, typer.Argument(help="Folder, list, manifest, HDF5 pack or store.", metavar="PATH")]
LayoutOption = Annotated[
    Layout | None, typer.Option(help="How the data lies there; by default found out.", show_default=False)
]
AudioFolder = Annotated[Path | None, typer.Option(help="Folder of the audio, if it is elsewhere.", metavar="DIR")]
ClassList = Annotated[
    Path | None, typer.Option(help="AudioSet's class_labels_indices.csv or ontology.json.", metavar="FILE")
]
