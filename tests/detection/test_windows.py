"""The detector on any length, in real time."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from querysep.detection.config import HtsatConfig
from querysep.detection.events import events
from querysep.detection.htsat import Htsat
from querysep.detection.network import Detection
from querysep.detection.windows import PresenceMap, PresenceStream, embed, hear

CONFIG = HtsatConfig(
    n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, patch_size=4, classes=3
)
RATE = CONFIG.sample_rate


@pytest.fixture(scope="module")
def network() -> Htsat:
    torch.manual_seed(0)
    return Htsat(CONFIG).eval()


def _presence(network: Htsat, wave: np.ndarray, block: int) -> PresenceMap:
    stream = PresenceStream(network)
    for first in range(0, len(wave), block):
        stream.push(wave[first : first + block])
    return stream.finish()


@settings(max_examples=15)
@given(time=st.integers(1, 9 * RATE), block=st.integers(5_000, 100_000))
def test_map_covers_any_length_and_does_not_depend_on_blocks(time: int, block: int) -> None:
    torch.manual_seed(0)
    network = Htsat(CONFIG).eval()
    wave = np.random.default_rng(time).standard_normal(time).astype(np.float32) * 0.1
    presence = _presence(network, wave, block)
    assert presence.framewise.shape[1] == int(np.ceil(time / RATE / presence.frame_s - 1e-9))
    assert ((presence.framewise >= 0) & (presence.framewise <= 1)).all()
    assert presence.duration_s == time / RATE
    np.testing.assert_allclose(presence.framewise, _presence(network, wave, time).framewise, atol=1e-5)


class _LevelDetector(Htsat):
    """Says 1 in each map frame in which the input is loud: shows where the windows put their frames."""

    def forward(self, wave: torch.Tensor) -> Detection:
        detection = super().forward(wave)
        copies = max(1, self.config.frames // (wave.shape[-1] // self.config.hop + 1))
        tiled = wave.abs().repeat(1, copies)
        loud = torch.nn.functional.adaptive_max_pool1d(tiled[:, None], self.config.map_frames) > 0.5
        framewise = loud.float().expand(-1, self.config.classes, -1)
        return Detection(detection.clipwise_logits, framewise, detection.latent)


@pytest.mark.parametrize(
    ("duration_s", "onset_s"), [(1.3, 0.4), (30.0, 3.1), (30.0, 17.77), (30.3, 29.6), (600.0, 412.3)]
)
def test_events_lie_where_they_are_heard(duration_s: float, onset_s: float) -> None:
    network = _LevelDetector(CONFIG).eval()
    wave = np.zeros(round(duration_s * RATE), dtype=np.float32)
    wave[round(onset_s * RATE) : round((onset_s + 0.3) * RATE)] = 1.0
    presence = _presence(network, wave, 48_000)
    found = events(presence, ("a", "b", "c"), threshold=0.3)
    assert {event.label for event in found} == {"a", "b", "c"}
    for event in found:
        assert event.onset_s <= onset_s + 0.1 and event.offset_s >= min(onset_s + 0.2, duration_s)
        assert event.offset_s - event.onset_s <= 0.3 + 4 * presence.frame_s


@pytest.mark.parametrize("time", [1, 300, 3_200, 64_000, 400_000])
def test_embedding_of_any_length(network: Htsat, time: int) -> None:
    wave = torch.randn(2, time, generator=torch.Generator().manual_seed(1)) * 0.1
    latent = embed(network, wave)
    assert latent.shape == (2, CONFIG.latent_dim)
    torch.testing.assert_close(embed(network, wave[1:]), latent[1:], atol=1e-5, rtol=1e-5)


def test_nothing_pushed_is_an_error(network: Htsat) -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        PresenceStream(network).finish()


def test_recordings_heard_together_are_heard_as_each_alone(network: Htsat) -> None:
    rng = np.random.default_rng(0)
    waves = [rng.standard_normal(time).astype(np.float32) * 0.1 for time in (1, 700, 200_001, 64_000, 81_600, 81_601)]
    for wave, heard in zip(waves, hear(network, waves, batch=3), strict=True):
        alone = _presence(network, wave, len(wave))
        np.testing.assert_allclose(heard.presence.framewise, alone.framewise, atol=1e-6)
        np.testing.assert_allclose(heard.presence.clipwise, alone.clipwise, atol=1e-6)
        assert heard.presence.duration_s == alone.duration_s
        assert (heard.latent is None) == (len(wave) > CONFIG.window_s * RATE - CONFIG.hop)
        if heard.latent is not None:
            np.testing.assert_allclose(heard.latent, embed(network, torch.from_numpy(wave[None]))[0], atol=1e-6)
