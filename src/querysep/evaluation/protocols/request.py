"""A protocol by its name, with the options that it takes: enough to make it anywhere, and to repeat it.

The command line reads this when it starts, so what weighs is imported where it is needed.
"""

import shlex
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from querysep.errors import ConfigError

if TYPE_CHECKING:
    from querysep.evaluation.protocols.protocol import Protocol


class ProtocolName(StrEnum):
    """What can be measured."""

    OPEN = "open"
    HELD_OUT = "held-out"
    DETECTION = "detection"
    MUSDB18_PAPER = "musdb18-paper"
    MUSDB18_SISEC = "musdb18-sisec"


TAKES: dict[ProtocolName, tuple[str, ...]] = {
    ProtocolName.OPEN: ("mixtures", "seed", "queries", "compare", "baselines", "robustness", "kinds", "split"),
    ProtocolName.HELD_OUT: ("mixtures", "seed", "classes"),
    ProtocolName.DETECTION: ("mixtures", "seed", "teacher"),
    ProtocolName.MUSDB18_PAPER: (),
    ProtocolName.MUSDB18_SISEC: (),
}
"""Options of each, by the names of its constructor."""
FLAGS = {
    "mixtures": "--mixtures",
    "seed": "--seed",
    "queries": "--query-kind",
    "compare": "--compare",
    "baselines": "--baseline",
    "robustness": "--robustness",
    "kinds": "--kind",
    "split": "--split",
    "classes": "--class",
    "teacher": "--teacher",
}
"""How the options are called on the command line."""

_EXTRAS = ("torchmetrics", "museval", "musdb", "stempeg", "jinja2", "mir_eval")


@dataclass(frozen=True)
class Request:
    """What shall be measured on what.

    Attributes:
        protocol: by its name.
        data: data set, in a format that the protocol knows.
        model: name of a bundled model, or a weights folder.
        options: those that were given, for the protocol's constructor.

    Raises:
        ConfigError: an option is not the protocol's.
    """

    protocol: ProtocolName
    data: str
    model: str
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what the protocol does not take."""
        for option in self.options:
            if option not in TAKES[self.protocol]:
                taken = ", ".join(FLAGS[name] for name in TAKES[self.protocol])
                has = f"it takes {taken}" if taken else "it has no such options, for its figures to be comparable"
                raise ConfigError(f"The protocol {self.protocol} takes no {FLAGS[option]}; {has}.")

    def located(self) -> "Request":
        """Return the same with paths from the root, for processes in other folders."""
        options = dict(self.options)
        if "compare" in options:
            options["compare"] = [_located(model) for model in options["compare"]]
        if "teacher" in options:
            options["teacher"] = Path(options["teacher"]).resolve()
        data = self.data if "://" in self.data else str(Path(self.data).resolve())
        return replace(self, data=data, model=_located(self.model), options=options)

    def build(self, device: str) -> "Protocol":
        """Make the protocol.

        Args:
            device: auto, cpu, cuda or mps.

        Raises:
            ConfigError: a package of the extra 'eval' is missing, or an option is wrong.
            DataError: the data set cannot be used.
            WeightsError: there is no such model.
            DeviceError: the device is not there.
        """
        try:
            return _make(self.protocol, self.data, self.model, device, self.options)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _EXTRAS:
                raise
            raise ConfigError(
                f"The protocol {self.protocol} needs the package {package}: pip install 'querysep[eval]'."
            ) from error

    def command(self, output: str) -> str:
        """Return the command that measures the same.

        Args:
            output: folder for the results.
        """
        words = ["querysep", "evaluate", self.protocol.value, "--data", self.data, "--model", self.model]
        for option, value in self.options.items():
            if value is True:
                words.append(FLAGS[option])
                continue
            for one in value if isinstance(value, (list, tuple)) else (value,):
                words += [FLAGS[option], str(one)]
        return shlex.join([*words, "-o", output])


def _located(model: str) -> str:
    from querysep.model import bundled_models

    return model if model in bundled_models() else str(Path(model).resolve())


def _make(name: ProtocolName, data: str, model: str, device: str, options: dict[str, Any]) -> "Protocol":
    match name:
        case ProtocolName.OPEN:
            from querysep.evaluation.protocols.open import OpenProtocol

            return OpenProtocol(data, model, device=device, **options)
        case ProtocolName.HELD_OUT:
            from querysep.evaluation.protocols.held_out import HeldOutProtocol

            return HeldOutProtocol(data, model, device=device, **options)
        case ProtocolName.DETECTION:
            from querysep.evaluation.protocols.detection import DetectionProtocol

            return DetectionProtocol(data, model, device=device, **options)
        case ProtocolName.MUSDB18_PAPER:
            from querysep.evaluation.protocols.musdb18 import Musdb18Paper

            return Musdb18Paper(model=model, data=Path(data), device=device)
        case ProtocolName.MUSDB18_SISEC:
            from querysep.evaluation.protocols.musdb18 import Musdb18Sisec

            return Musdb18Sisec(model=model, data=Path(data), device=device)
