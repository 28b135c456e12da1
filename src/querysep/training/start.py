"""Beginning a separator's training from another model's separator, even a narrower one or one with another detector."""

import re

import numpy as np
import torch
from torch import Tensor, nn

from querysep.anchors.catalog import Catalog
from querysep.detection.windows import embed
from querysep.errors import ConfigError
from querysep.model import Model
from querysep.separation.compact import CompactUnet
from querysep.separation.config import CompactConfig, SeparatorConfig
from querysep.separation.network import SeparatorNetwork

_LISTENED, _COMPARED = 32, 2_000  # anchors
_SAME = 0.999  # cosine
_RIDGE = 1e-2
_OF_TWO_IMAGES = re.compile(r"decoder\.\d+\.(conv1|skip)\.")  # see UpBlock


@torch.no_grad()
def same_embeddings(start: Model, catalog: Catalog) -> bool:
    """Tell whether a model's detector gives the latent embeddings of a catalog, by what it hears in some anchors."""
    old, new = _both(start, catalog, _LISTENED)
    return old.shape == new.shape and float(torch.cosine_similarity(new, old).median()) > _SAME


@torch.no_grad()
def begin_from(network: SeparatorNetwork, start: Model, catalog: Catalog) -> None:
    """Copy the weights of another model's separator.

    Where that model's detector is not the one that mined the catalog, a condition means another sound to it. Then the
    first layer that sees the condition is fitted anew: by ridge regression over anchors that both detectors have heard,
    it gives for the new latent embeddings what it gave for the old ones. The same with what tells presence; weights
    without it can be begun from, too.

    A network of our architecture may have more channels than the start. Then it computes at first what the start
    does: its further channels hear the others, but nothing of the start's hears them until training lets it
    (function-preserving growth, after Chen, Goodfellow and Shlens, 2016, but with random further channels).

    Args:
        network: gets the weights.
        start: a model on the CPU.
        catalog: the anchors to train on.

    Raises:
        ConfigError: the start has another shape, or another detector and not our architecture.
    """
    if not _fits(start.separator.config, network.config):
        raise ConfigError(
            "The separator to start from has another shape than the preset. Choose the preset it was made with, or one "
            "that differs only in more channels."
        )
    weights = network.state_dict()
    for name, value in start.separator.state_dict().items():
        _fill(weights[name], value, outputs=1 + (".film." in name), inputs=1 + bool(_OF_TWO_IMAGES.match(name)))
    if same_embeddings(start, catalog):
        return
    if not isinstance(network, CompactUnet):
        raise ConfigError("The model to start from has another detector; that is only possible with our architecture.")
    old, new = _both(start, catalog, _COMPARED)
    _refit(network.condition, old, new)
    if (
        network.presence is not None
        and isinstance(start.separator, CompactUnet)
        and start.separator.presence is not None
    ):
        _refit(network.presence.query, old, new)


def _fits(start: SeparatorConfig, config: SeparatorConfig) -> bool:
    """Tell whether weights can be filled into a network: ours may tell presence besides, and have more channels."""
    if not isinstance(start, CompactConfig) or not isinstance(config, CompactConfig):
        return start == config
    free = {"presence_dim": config.presence_dim, "channels": config.channels}
    if start.model_copy(update=free) != config or start.presence_dim not in {0, config.presence_dim}:
        return False
    if start.channels == config.channels:
        return True
    levels = [list(zip(one.channels, one.channels[1:], strict=False)) for one in (start, config)]
    return (
        len(start.channels) == len(config.channels)
        and all(many >= few for few, many in zip(start.channels, config.channels, strict=True))
        # a block has a convolution in its residual path where the number of channels changes
        and [one == other for one, other in levels[0]] == [one == other for one, other in levels[1]]
    )


def _fill(weights: Tensor, start: Tensor, outputs: int, inputs: int) -> None:
    """Put weights in the place of the first outputs and inputs of each group; these then hear no other inputs.

    Args:
        weights: of the network, shape (output, input, ...) or (output,).
        start: at most as large.
        outputs: groups of outputs, such as scales beside shifts.
        inputs: groups of inputs, such as two images side by side.
    """
    if weights.ndim == 0:
        weights.copy_(start)
        return
    weights, start = (torch.unflatten(one, 0, (outputs, -1)) for one in (weights, start))
    filled = weights[:, : start.shape[1]]
    if start.ndim > 2:
        filled.zero_()
        filled, start = (torch.unflatten(one, 2, (inputs, -1)) for one in (filled, start))
        filled = filled[:, :, :, : start.shape[3]]
    filled.copy_(start)


def _both(start: Model, catalog: Catalog, most: int) -> tuple[Tensor, Tensor]:
    """Return what the model's detector and the catalog's say of some anchors, each of shape (anchor, latent_dim)."""
    places = np.linspace(0, len(catalog.anchors) - 1, min(len(catalog.anchors), most)).round().astype(int)
    heard = torch.stack([_heard_by(start, catalog, int(place)) for place in places])
    return heard, torch.from_numpy(catalog.latents[places])


def _heard_by(start: Model, catalog: Catalog, place: int) -> Tensor:
    return embed(start.detector, torch.from_numpy(catalog.wave(place))[None])[0]


def _refit(layers: nn.Sequential, old: Tensor, new: Tensor) -> None:
    """Fit the linear layer after the norm so that it gives for the new vectors what it gave for the old ones."""
    norm, linear = layers[0], layers[1]
    assert isinstance(norm, nn.LayerNorm)
    assert isinstance(linear, nn.Linear)
    wanted = linear(norm(old)).double()
    nn.init.ones_(norm.weight)
    nn.init.zeros_(norm.bias)
    seen = norm(new).double()
    mean, middle = seen.mean(dim=0), wanted.mean(dim=0)
    centred = seen - mean
    covariance = centred.T @ centred / len(centred)
    covariance += _RIDGE * covariance.diagonal().mean() * torch.eye(len(mean), dtype=torch.float64)
    weight = torch.linalg.solve(covariance, centred.T @ (wanted - middle) / len(centred)).T
    linear.weight.copy_(weight)
    linear.bias.copy_(middle - weight @ mean)
