"""The event calibration of a weights folder: from which probability on, and how smoothed, each class counts."""

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from querysep.errors import WeightsError
from querysep.io.files import atomic_text

EVENTS_NAME = "events.json"


class ClassRule(BaseModel):
    """What makes an event of a class's framewise probabilities."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(gt=0, lt=1, description="least probability")
    median_s: float = Field(ge=0, description="length of the median filter before it, seconds; 0 for none")


class EventCalibration(BaseModel):
    """The rules of all classes, fitted for one detector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["querysep-events/1"] = "querysep-events/1"
    detector_hash: str = Field(description="of the detector that it was fitted for, alone or in a model")
    default: ClassRule = Field(description="of the classes that are not named")
    classes: dict[str, ClassRule] = Field(description="by label")
    fitted_on: str = Field(description="soundscapes and data, in a sentence")

    def rule(self, label: str) -> ClassRule:
        """Return the rule of a class."""
        return self.classes.get(label, self.default)

    @property
    def hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 over its file."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def to_json(self) -> str:
        """Return the content of its file, a line for each class."""
        content = self.model_dump(mode="json")
        rules = [f"    {json.dumps(label)}: {json.dumps(rule)}" for label, rule in content.pop("classes").items()]
        head = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in content.items()]
        named = "{\n" + ",\n".join(rules) + "\n  }" if rules else "{}"
        return "{\n" + ",\n".join((*head, f'  "classes": {named}')) + "\n}\n"


def read_events(folder: Path) -> EventCalibration | None:
    """Read the event calibration of a weights folder, of whatever weights it is; None where there is none.

    Raises:
        WeightsError: damaged.
    """
    path = folder / EVENTS_NAME
    if not path.is_file():
        return None
    try:
        return EventCalibration.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"'{path}' is damaged ({reason}). Copy the model again, or `querysep calibrate` it."
        ) from error


def write_events(folder: Path, calibration: EventCalibration) -> Path:
    """Write the event calibration into a weights folder, whole or not at all; one that is there is replaced.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / EVENTS_NAME
    atomic_text(path, calibration.to_json())
    return path
