"""The protocols by name, and the options that each takes; light, for the command line to read when it starts."""

from enum import StrEnum


class ProtocolName(StrEnum):
    """What can be measured."""

    OPEN = "open"
    HELD_OUT = "held-out"
    DETECTION = "detection"
    MUSDB18_PAPER = "musdb18-paper"
    MUSDB18_SISEC = "musdb18-sisec"


TAKES: dict[ProtocolName, tuple[str, ...]] = {
    ProtocolName.OPEN: ("mixtures", "seed", "queries", "compare", "baselines", "robustness"),
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
    "classes": "--class",
    "teacher": "--teacher",
}
"""How the options are called on the command line."""
