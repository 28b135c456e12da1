"""From a config to a network."""

from querysep.separation.compact import CompactUnet
from querysep.separation.config import SeparatorConfig
from querysep.separation.network import SeparatorNetwork
from querysep.separation.unet import PaperUnet


def build_separator(config: SeparatorConfig) -> SeparatorNetwork:
    """Return a separator with random weights."""
    match config.architecture:
        case "unet":
            return PaperUnet(config)
        case "compact":
            return CompactUnet(config)
