"""A separator's training begins where another model's ended, even if that one had another detector."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from querysep.anchors.catalog import Anchor, Catalog, CatalogFacts
from querysep.detection.windows import embed
from querysep.errors import ConfigError
from querysep.model import Model, load_model
from querysep.separation.build import build_separator
from querysep.separation.compact import CompactUnet
from querysep.separation.config import PaperConfig
from querysep.training.start import begin_from, same_embeddings

COUNT, TIME = 60, 16_000


@pytest.fixture
def start(tiny_model: Path) -> Model:
    return load_model(tiny_model, "cpu")


def _catalog(start: Model, mixing: NDArray[np.float64]) -> Catalog:
    """Anchors whose latent embeddings are those of the start's detector, mixed."""
    rng = np.random.default_rng(0)
    tones = np.sin(np.outer(rng.uniform(0.02, 2.0, COUNT), np.arange(TIME))) * rng.uniform(0.01, 0.9, (COUNT, 1))
    audio = (tones * 20_000).astype(np.int16)
    latents = embed(start.detector, torch.from_numpy(audio.astype(np.float32) / 32768.0)).numpy() @ mixing
    anchors = [
        Anchor(label="Tone", labels=("Tone",), clip=f"{n}", origin=f"{n}", start_s=0, sounding=TIME, score=1, purity=1)
        for n in range(COUNT)
    ]
    facts = CatalogFacts(sample_rate=32_000, segment_time=TIME, latent_dim=16, detector="d", settings="{}")
    return Catalog(anchors, latents.astype(np.float32), audio, facts)


def test_with_the_same_detector_all_weights_are_copied(start: Model) -> None:
    network = build_separator(start.separator.config)
    catalog = _catalog(start, np.eye(16))
    assert same_embeddings(start, catalog)
    begin_from(network, start, catalog)
    for name, value in start.separator.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.usefixtures("seeded")
def test_another_detectors_embeddings_come_to_mean_the_same(start: Model) -> None:
    mixing = np.random.default_rng(1).standard_normal((16, 16))
    catalog = _catalog(start, mixing)
    network = build_separator(start.separator.config)
    assert isinstance(network, CompactUnet) and isinstance(start.separator, CompactUnet)
    assert not same_embeddings(start, catalog)
    begin_from(network, start, catalog)
    new = torch.from_numpy(catalog.latents)
    old = torch.from_numpy(catalog.latents @ np.linalg.inv(mixing).astype(np.float32))
    with torch.no_grad():
        wanted = start.separator.condition(old)
        spread = (wanted - wanted.mean(dim=0)).square().mean()
        assert (network.condition(new) - wanted).square().mean() < 0.1 * spread
        assert (start.separator.condition(new) - wanted).square().mean() > 0.3 * spread  # as they are, they do not
        magnitude = torch.rand(1, 1025, 40)
        said, kept = (
            one.presence_logits(one.listen(magnitude), many) for one, many in ((start.separator, old), (network, new))
        )
        assert said is not None and kept is not None
        assert float(torch.corrcoef(torch.cat((said, kept)))[0, 1]) > 0.9
    torch.testing.assert_close(network.stem.weight, start.separator.stem.weight, rtol=0, atol=0)


def test_a_wider_network_begins_as_the_start_and_then_uses_all_its_channels(start: Model) -> None:
    torch.manual_seed(3)
    for name, value in start.separator.state_dict().items():
        if "bn" in name and value.ndim:  # as after a training
            value.copy_(torch.rand_like(value) + 0.5)
    few = start.separator.config.channels
    network = build_separator(start.separator.config.model_copy(update={"channels": tuple(3 * one for one in few)}))
    begin_from(network, start, _catalog(start, np.eye(16)))
    magnitude, condition = torch.rand(2, 1025, 40), torch.randn(2, 16)
    masks = [one.eval().mask_of_magnitude(magnitude, condition) for one in (start.separator, network)]
    torch.testing.assert_close(masks[1], masks[0], rtol=1e-4, atol=1e-5)
    assert masks[0].std() > 0.01
    said = [one.presence_logits(one.listen(magnitude), condition) for one in (start.separator, network)]
    torch.testing.assert_close(said[1], said[0], rtol=1e-4, atol=1e-5)

    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        network.train().mask_of_magnitude(magnitude, condition).square().mean().backward()
        optimizer.step()
    for name, parameter in network.named_parameters():
        if parameter.ndim == 4 and "presence" not in name:  # every kernel, the further ones' too, has a gradient
            assert parameter.grad is not None
            assert (parameter.grad.flatten(1).abs().sum(dim=1) > 0).float().mean() > 0.9, name


def test_weights_that_cannot_tell_presence_can_be_begun_from(start: Model) -> None:
    config = start.separator.config.model_copy(update={"presence_dim": 0})
    mute = replace(start, separator=build_separator(config))
    network = build_separator(start.separator.config)
    begin_from(network, mute, _catalog(start, np.eye(16)))
    for name, value in mute.separator.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], value, rtol=0, atol=0)
    with pytest.raises(ConfigError, match="another shape"):
        begin_from(build_separator(config), start, _catalog(start, np.eye(16)))
    few = start.separator.config.channels
    narrower = start.separator.config.model_copy(update={"channels": (*few[:-1], few[-1] - 8)})
    with pytest.raises(ConfigError, match="more channels"):
        begin_from(build_separator(narrower), start, _catalog(start, np.eye(16)))


def test_another_shape_is_refused(start: Model) -> None:
    network = build_separator(start.separator.config.model_copy(update={"bins_per_band": 16}))
    with pytest.raises(ConfigError, match="another shape"):
        begin_from(network, start, _catalog(start, np.eye(16)))


def test_the_papers_network_cannot_change_its_detector(start: Model) -> None:
    config = PaperConfig(channels=(4, 8), condition_dim=16)
    other = replace(start, separator=build_separator(config))
    with pytest.raises(ConfigError, match="another detector"):
        begin_from(build_separator(config), other, _catalog(start, -np.eye(16)))
