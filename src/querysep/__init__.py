"""Take one sound out of a recording: show it what you mean, get that sound and everything else."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from querysep.detection.events import Event
    from querysep.detection.windows import PresenceMap
    from querysep.errors import AudioError, OutputError, QueryError, QuerysepError, WeightsError
    from querysep.pipeline import Detector, Separation, SeparationReport, Separator, Split, SplitReport
    from querysep.queries.query import Query
    from querysep.types import Audio

__all__ = [
    "Audio",
    "AudioError",
    "Detector",
    "Event",
    "OutputError",
    "PresenceMap",
    "Query",
    "QueryError",
    "QuerysepError",
    "Separation",
    "SeparationReport",
    "Separator",
    "Split",
    "SplitReport",
    "WeightsError",
]

_HOMES = {
    "Audio": "types",
    "AudioError": "errors",
    "Detector": "pipeline",
    "Event": "detection.events",
    "OutputError": "errors",
    "PresenceMap": "detection.windows",
    "Query": "queries.query",
    "QueryError": "errors",
    "QuerysepError": "errors",
    "Separation": "pipeline",
    "SeparationReport": "pipeline",
    "Separator": "pipeline",
    "Split": "pipeline",
    "SplitReport": "pipeline",
    "WeightsError": "errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: PyTorch takes seconds to load."""
    if name == "__version__":
        from importlib.metadata import version

        return version("querysep")
    if name not in _HOMES:
        raise AttributeError(f"module 'querysep' has no attribute '{name}'")
    value = getattr(import_module(f"querysep.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Name what can be imported."""
    return sorted([*__all__, "__version__"])
