"""From a config to a network."""

from querysep.separation.compact import CompactUnet
from querysep.separation.config import CompactConfig, PaperConfig, SeparatorConfig
from querysep.separation.network import SeparatorNetwork
from querysep.separation.unet import PaperUnet


def build_separator(config: SeparatorConfig) -> SeparatorNetwork:
    """Return a separator with random weights."""
    match config:
        case PaperConfig():
            return PaperUnet(config)
        case CompactConfig():
            return CompactUnet(config)
