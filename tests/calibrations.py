"""Calibrations for tests."""

from pathlib import Path

from querysep.io.event_calibration import ClassRule, EventCalibration
from querysep.io.presence_calibration import PresenceCalibration
from querysep.io.weights import content_hash


def open_calibration(folder: Path, bias: float = 2.0, latent_dim: int = 16) -> PresenceCalibration:
    """A calibration of a model whose gate is open to all that is heard, or, with a low bias, closed."""
    return PresenceCalibration(
        model_hash=content_hash(folder),
        weights=(0.05, 0.1, 0.05, 0.1, 0.05),
        bias=bias,
        centre=(0.0,) * latent_dim,
        silent_below=0.05,
        open_above=0.15,
        fitted_on="nothing",
    )


def event_calibration(detector_hash: str) -> EventCalibration:
    """An event calibration of a detector that knows dogs and bells."""
    return EventCalibration(
        detector_hash=detector_hash,
        default=ClassRule(threshold=0.6, median_s=0.24),
        classes={"Dog": ClassRule(threshold=0.2, median_s=0.0), "Bell": ClassRule(threshold=0.8, median_s=0.56)},
        fitted_on="nothing",
    )
