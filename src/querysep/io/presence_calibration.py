"""The presence calibration of a weights folder: from what is heard to how surely a queried sound is there."""

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from querysep.errors import WeightsError
from querysep.io.files import atomic_text

PRESENCE_NAME = "presence.json"
FEATURES = ("detector_logit", "similarity", "mask_confidence", "mask_share", "match")


class PresenceCalibration(BaseModel):
    """A logistic model over a few features, fitted for one pair of networks.

    The probability is 1 / (1 + exp(-(weights . features + bias))), as if half of all queries were for absent sounds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["querysep-presence/2"] = "querysep-presence/2"
    model_hash: str = Field(description="of the weights that it was fitted for")
    features: tuple[str, ...] = Field(default=FEATURES, description="what is measured, always these")
    weights: tuple[float, ...] = Field(description="of the features, in order")
    bias: float
    centre: tuple[float, ...] = Field(description="mean latent embedding of the fitted mixtures")
    silent_below: float = Field(gt=0, lt=1, description="presence up to which the target is silenced")
    open_above: float = Field(gt=0, lt=1, description="presence from which on the target is left as it is")
    fitted_on: str = Field(description="mixtures and data, in a sentence")

    @model_validator(mode="after")
    def _fits(self) -> "PresenceCalibration":
        if self.features != FEATURES or len(self.weights) != len(FEATURES):
            raise ValueError(f"want a weight for each of {FEATURES}; got {self.weights} for {self.features}")
        if not self.silent_below < self.open_above:
            raise ValueError(f"silent_below ({self.silent_below}) must lie below open_above ({self.open_above})")
        return self


def read_presence(folder: Path, model_hash: str, latent_dim: int) -> PresenceCalibration | None:
    """Read the presence calibration of a weights folder.

    Args:
        folder: of the weights.
        model_hash: of these weights.
        latent_dim: size of the detector's latent embedding.

    Returns:
        None where there is none, or only one of other weights.

    Raises:
        WeightsError: damaged.
    """
    path = folder / PRESENCE_NAME
    if not path.is_file():
        return None
    try:
        found = PresenceCalibration.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"'{path}' is damaged ({reason}). Copy the model again, or `querysep calibrate` it."
        ) from error
    return found if found.model_hash == model_hash and len(found.centre) == latent_dim else None


def write_presence(folder: Path, calibration: PresenceCalibration) -> Path:
    """Write the presence calibration into a weights folder, whole or not at all; one that is there is replaced.

    Raises:
        OutputError: it cannot be written.
    """
    path = folder / PRESENCE_NAME
    atomic_text(path, json.dumps(calibration.model_dump(mode="json"), indent=2) + "\n")
    return path
