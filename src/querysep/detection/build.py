"""From a config to a network."""

from querysep.detection.config import DetectorConfig, HtsatConfig, MobileConfig
from querysep.detection.htsat import Htsat
from querysep.detection.mobile import MobileDetector
from querysep.detection.network import DetectorNetwork


def build_detector(config: DetectorConfig) -> DetectorNetwork:
    """Return a detector with random weights."""
    match config:
        case HtsatConfig():
            return Htsat(config)
        case MobileConfig():
            return MobileDetector(config)
