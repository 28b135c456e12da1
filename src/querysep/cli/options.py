"""Options that several commands share."""

from enum import StrEnum
from typing import Annotated

import typer


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
