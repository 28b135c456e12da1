"""Long files: same length, no seams, the network's own output, memory that does not grow."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from querysep.dsp.stft import stft
from querysep.errors import AudioError
from querysep.separation.build import build_separator
from querysep.separation.config import CompactConfig
from querysep.separation.long_file import separate_blocks
from querysep.separation.mask_rule import MaskRule
from querysep.separation.mask_stream import MaskStream
from querysep.separation.native_mask import NativeMask
from querysep.separation.network import SeparatorNetwork
from querysep.types import FloatArray

CONFIG = CompactConfig(n_fft=512, hop=160, channels=(4, 8), condition_dim=4, condition_hidden=8, sample_rate=16_000)


class Fake(SeparatorNetwork):
    """A mask that is a known function of the condition and the magnitude."""

    def __init__(self, config: CompactConfig = CONFIG) -> None:
        super().__init__()
        self.config = config
        self.calls: list[tuple[int, ...]] = []

    def mask_of_magnitude(self, magnitude: Tensor, condition: Tensor) -> Tensor:
        self.calls.append(tuple(magnitude.shape))
        return condition[:, :1, None].expand_as(magnitude)


class Local(Fake):
    """A mask that looks at each bin only, so a long file's is that of the whole."""

    def mask_of_magnitude(self, magnitude: Tensor, condition: Tensor) -> Tensor:
        return magnitude / (magnitude + 1)


def condition(*values: float) -> Tensor:
    return torch.tensor(values)[:, None].expand(-1, 4).contiguous()


def noise(channels: int, time: int, gain: float = 0.3) -> FloatArray:
    return (np.random.default_rng(time).standard_normal((channels, time)) * gain).astype(np.float32)


def separated(network: SeparatorNetwork, samples: FloatArray, rate: int, size: int = 65_536, **more: Any) -> FloatArray:
    more.setdefault("conditions", condition(1.0))
    blocks = (samples[:, start : start + size] for start in range(0, samples.shape[1], size))
    return np.concatenate(list(separate_blocks(network, more.pop("conditions"), blocks, rate, **more)), axis=-1)


@pytest.fixture
def network() -> SeparatorNetwork:
    torch.manual_seed(1)
    network = build_separator(CONFIG)
    for module in network.modules():  # random statistics, so that the mask is far from constant
        if isinstance(module, torch.nn.BatchNorm2d) and module.running_var is not None:
            module.running_var.uniform_(0.05, 0.3)
    return network.eval()


@settings(max_examples=20)
@given(
    time=st.integers(1, 60_000),
    rate=st.sampled_from([3_000, 8_000, 11_025, 16_000, 22_050, 44_100, 47_999, 48_000, 192_000]),
    channels=st.integers(1, 8),
    size=st.sampled_from([97, 4_096, 100_000]),
)
def test_mask_one_gives_the_mixture_and_mask_zero_silence(time: int, rate: int, channels: int, size: int) -> None:
    mixture = noise(channels, max(1, min(time, time * rate // 48_000)))
    targets = separated(Fake(), mixture, rate, max(size, mixture.shape[1] // 20), conditions=condition(1.0, 0.0, 0.25))
    assert targets.shape == (3, *mixture.shape)
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets[0], mixture, atol=1e-5)
    np.testing.assert_array_equal(targets[1], 0)
    np.testing.assert_allclose(targets[2], mixture * np.float32(0.25), atol=1e-5)


def test_one_chunk_is_exactly_the_networks_own_output(network: SeparatorNetwork) -> None:
    mixture = noise(1, 32_000)
    wanted = torch.rand(1, 4)
    with torch.inference_mode():
        own = network(torch.from_numpy(mixture)[None], wanted)[0].numpy()
    long = separated(network, mixture, 16_000, conditions=wanted)[0]
    assert np.abs(own).max() > 0.05
    np.testing.assert_allclose(long, own, atol=1e-6)


@pytest.mark.parametrize(
    ("rate", "seconds"), [(16_000, 1.3), (16_000, 3.5), (16_000, 5.3), (44_100, 3.51), (11_025, 2.0)]
)
def test_block_size_does_not_matter(network: SeparatorNetwork, rate: int, seconds: float) -> None:
    mixture = noise(2, round(rate * seconds))
    whole = separated(network, mixture, rate, 10**9)
    assert whole.shape == (1, *mixture.shape)
    for size in (1_999, 30_001):
        np.testing.assert_allclose(separated(network, mixture, rate, size), whole, atol=2e-6)


def test_channels_share_one_mask_unless_asked(network: SeparatorNetwork) -> None:
    mixture = noise(3, 40_000)
    one = separated(network, mixture[:1], 16_000)[0]
    np.testing.assert_allclose(
        separated(network, np.repeat(mixture[:1], 3, axis=0), 16_000)[0], one.repeat(3, axis=0), atol=1e-5
    )
    alone = np.concatenate([separated(network, mixture[index : index + 1], 16_000)[0] for index in range(3)])
    per_channel = separated(network, mixture, 16_000, per_channel=True)[0]
    np.testing.assert_allclose(per_channel, alone, atol=1e-5)
    assert np.abs(separated(network, mixture, 16_000)[0] - alone).max() > 1e-3
    order = [2, 0, 1]
    np.testing.assert_allclose(
        separated(network, mixture[order], 16_000, per_channel=True)[0], per_channel[order], atol=1e-5
    )


@pytest.mark.parametrize("per_channel", [False, True])
def test_several_queries_in_one_pass_equal_single_passes(network: SeparatorNetwork, per_channel: bool) -> None:
    mixture, wanted = noise(2, 70_000), torch.rand(3, 4) * 4
    together = separated(network, mixture, 16_000, conditions=wanted, per_channel=per_channel)
    for index in range(3):
        alone = separated(network, mixture, 16_000, conditions=wanted[index : index + 1], per_channel=per_channel)
        np.testing.assert_allclose(together[index], alone[0], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-4


def test_max_takes_the_largest_mask() -> None:
    mixture = noise(1, 60_000)
    largest = separated(Fake(), mixture, 44_100, conditions=condition(0.2, 0.7, 0.4), rule=MaskRule.largest(3))
    assert largest.shape == (1, 1, 60_000)
    np.testing.assert_allclose(largest[0], mixture * np.float32(0.7), atol=1e-5)


@pytest.mark.parametrize("time", [32_000, 56_000, 56_160, 79_990, 80_000, 80_001, 112_345])
def test_a_mask_without_context_has_no_seams(time: int) -> None:
    """What looks at single bins must come out as from the whole file, but for the reflected edges of the chunks."""
    mixture = noise(1, time)
    with torch.inference_mode():
        own = Local()(torch.from_numpy(mixture)[None], condition(1.0))[0].numpy()
    long = separated(Local(), mixture, 16_000)[0]
    error_db = 10 * np.log10(np.square(long - own).sum() / np.square(own).sum() + 1e-12)
    assert error_db < -35


def test_a_steady_sound_stays_steady_across_seams(network: SeparatorNetwork) -> None:
    time_s = np.arange(16_000 * 12) / 16_000
    mixture = (0.3 * np.sin(2 * np.pi * 1_000 * time_s)).astype(np.float32)[None]
    target = separated(network, mixture, 16_000)[0, 0]
    level = np.sqrt(np.square(target[8_000:-8_000].reshape(-1, 800)).mean(axis=1))
    assert 20 * np.log10(level.max() / level.min()) < 0.5
    steps = np.abs(np.diff(target[8_000:-8_000]))
    assert steps.max() < 1.05 * 2 * np.pi * 1_000 / 16_000 * np.abs(target).max()


def test_chunks_lie_on_the_grid_and_the_last_ends_with_the_file() -> None:
    waves: list[Tensor] = []

    def record(start: int, wave: Tensor, masks: Tensor, matches: Tensor) -> Tensor:
        waves.extend(wave)
        return torch.ones(1, 1)

    stream = MaskStream(Fake(), condition(1.0), MaskRule.each(1), record)
    ramp = torch.arange(85_001, dtype=torch.float32)[None]
    masks = stream.push(ramp[:, :50_000]) + stream.push(ramp[:, 50_000:]) + stream.finish()
    assert [int(wave[0]) for wave in waves] == [0, 24_000, 48_000, 53_120]
    assert [int(wave[-1]) for wave in waves] == [31_999, 55_999, 79_999, 85_000]
    assert sum(mask.shape[-1] for mask in masks) == 85_001 // 160 + 1


def test_the_mask_lies_at_the_right_time_and_frequency_at_other_rates() -> None:
    """The target's share follows a mask that opens at 1 s and below 2 kHz, at every rate."""

    class Corner(Fake):
        def mask_of_magnitude(self, magnitude: Tensor, condition: Tensor) -> Tensor:
            mask = torch.zeros_like(magnitude)
            mask[:, :64, 100:] = 1.0  # bin 64 is 2 kHz, frame 100 is 1 s
            return mask

    for rate in (11_025, 16_000, 44_100, 96_000):
        time_s = np.arange(2 * rate) / rate
        low, high = np.sin(2 * np.pi * 1_000 * time_s), np.sin(2 * np.pi * 4_000 * time_s)
        target = separated(Corner(), (0.3 * (low + high)).astype(np.float32)[None], rate)[0, 0]
        late = slice(round(1.05 * rate), round(1.9 * rate))
        np.testing.assert_allclose(target[late], 0.3 * low[late], atol=0.02)
        assert np.abs(target[: round(0.95 * rate)]).max() < 0.02


def test_what_lies_above_the_models_band_follows_its_top() -> None:
    class Tops(Fake):
        def mask_of_magnitude(self, magnitude: Tensor, condition: Tensor) -> Tensor:
            mask = torch.zeros_like(magnitude)
            mask[:, 200:244] = 0.5  # 6.25 to 7.6 kHz
            mask[:, 244:] = 0.9  # the resampler's slope: not to be believed
            return mask

    time_s = np.arange(48_000 * 2) / 48_000
    mixture = (0.3 * np.sin(2 * np.pi * 15_000 * time_s)).astype(np.float32)[None]
    target, inner = separated(Tops(), mixture, 48_000)[0], slice(1_000, -1_000)  # the reflected ends are no steady tone
    np.testing.assert_allclose(target[:, inner], 0.5 * mixture[:, inner], atol=0.01)


def test_silence_stays_silence(network: SeparatorNetwork) -> None:
    for rate in (16_000, 44_100):
        np.testing.assert_array_equal(separated(network, np.zeros((2, 3 * rate), np.float32), rate), 0)


def test_the_networks_batch_is_bounded() -> None:
    fake = Fake()
    separated(fake, noise(2, 16_000 * 12), 16_000, 10**9, conditions=condition(*[0.5] * 5), per_channel=True)
    assert max(call[0] for call in fake.calls) <= 8


def test_the_callers_samples_are_not_changed(network: SeparatorNetwork) -> None:
    mixture = noise(2, 50_000)
    before = mixture.copy()
    separated(network, mixture, 16_000)
    np.testing.assert_array_equal(mixture, before)


def test_wrong_rates_and_changing_channels_are_told() -> None:
    with pytest.raises(AudioError, match="got 500"):
        separated(Fake(), noise(1, 1_000), 500)
    blocks = [noise(1, 1_000), noise(2, 1_000)]
    with pytest.raises(AudioError, match="1 channels as the first; got one of 2"):
        list(separate_blocks(Fake(), condition(1.0), blocks, 16_000))


def test_memory_does_not_grow_with_duration() -> None:
    import resource

    rate = 8_000
    block = noise(1, 10 * rate)

    def run(minutes: int) -> tuple[int, int]:
        tracemalloc.start()
        blocks = (block for _ in range(6 * minutes))
        total = sum(ready.shape[-1] for ready in separate_blocks(Fake(), condition(0.5), blocks, rate))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == minutes * 60 * rate
        return peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    traced_1, rss_1 = run(1)
    traced_10, rss_10 = run(10)
    assert traced_10 < traced_1 * 1.2 + 100_000
    assert rss_10 < rss_1 + 20_000  # KiB; torch's own memory is not traced


@pytest.mark.parametrize("rate", [11_025, 16_000, 22_050, 47_999])
def test_the_mask_is_interpolated_in_time_without_drift(rate: int) -> None:
    native = NativeMask(CONFIG, rate, torch.device("cpu"))
    ramp = torch.arange(2_000.0).expand(1, 1, 257, 2_000)
    taken = []
    for part in ramp.split(130, dim=-1):
        native.push(part)
        while native.ready:
            taken.append(native.take(min(native.ready, 50)))
    frames = torch.cat(taken, dim=-1)
    expected = torch.arange(frames.shape[-1]) * (native.hop / rate * 100)  # 100 model frames a second
    assert expected[-1] > 1_990
    torch.testing.assert_close(frames[0, 0, 7], expected, atol=1e-3, rtol=0)


def test_a_gate_hears_every_chunk_in_order_and_closes_what_it_wants() -> None:
    heard: list[tuple[int, int, int]] = []

    def gate(start: int, wave: Tensor, masks: Tensor, matches: Tensor) -> Tensor:
        np.testing.assert_allclose(wave[:, 0].numpy(), mixture[:, start], atol=1e-6)
        heard.append((start, wave.shape[-1], masks.shape[0]))
        open_ = torch.ones(2, masks.shape[-1])
        open_[1, : max(0, 300 - start // 160)] = 0.0  # the second target begins at 3 s
        return open_

    mixture = noise(1, 80_000)
    targets = separated(Fake(), mixture, 16_000, conditions=condition(0.5, 0.8), gate=gate)
    assert heard == [(0, 32_000, 2), (24_000, 32_000, 2), (48_000, 32_000, 2)]
    np.testing.assert_allclose(targets[0], 0.5 * mixture, atol=1e-5)
    np.testing.assert_allclose(targets[1, :, :47_500], 0.0, atol=1e-6)
    np.testing.assert_allclose(targets[1, :, 48_500:], 0.8 * mixture[:, 48_500:], atol=1e-5)


def test_a_mixture_is_listened_to_once_for_all_queries_and_the_gate_is_told_what_matches() -> None:
    class Listening(Fake):
        def listen(self, magnitude: Tensor) -> list[Tensor]:
            listened.append(len(magnitude))
            return [magnitude, magnitude.mean(dim=(1, 2))]

        def answer(self, heard: list[Tensor], condition: Tensor, frames: int) -> Tensor:
            return condition[:, :1, None] * (heard[1] > 0.5 * loudness)[:, None, None].expand_as(heard[0])

        def presence_logits(self, heard: list[Tensor], condition: Tensor) -> Tensor:
            return heard[1][:, None] * condition[None, :, 0]

    def gate(start: int, wave: Tensor, masks: Tensor, matches: Tensor) -> Tensor:
        told.append(matches)
        return torch.ones(3, 1)

    listened: list[int] = []
    told: list[Tensor] = []
    mixture = np.concatenate((noise(1, 16_000 * 6), noise(1, 16_000 * 6) * 1e-3))
    loudness = stft(torch.from_numpy(mixture[:1]), CONFIG.n_fft, CONFIG.hop).abs().mean()
    targets = separated(Listening(), mixture, 16_000, conditions=condition(0.2, 0.5, 0.8), per_channel=True, gate=gate)
    assert sum(listened) == 2 * len(told)  # each channel of each chunk, whatever the number of queries
    for number, share in enumerate((0.2, 0.5, 0.8)):
        np.testing.assert_allclose(targets[number, 0], share * mixture[0], atol=1e-5)
        np.testing.assert_allclose(targets[number, 1], 0.0, atol=1e-6)
    for matches in told:
        torch.testing.assert_close(matches / loudness, torch.tensor([0.2, 0.5, 0.8]), rtol=0.1, atol=0.0)


def test_a_gate_may_give_one_gain_for_a_chunk_and_acts_before_the_rule() -> None:
    mixture = noise(2, 50_000)
    rule = MaskRule.largest(2)
    targets = separated(
        Fake(),
        mixture,
        16_000,
        conditions=condition(0.5, 0.8),
        rule=rule,
        gate=lambda *_: torch.tensor([[1.0], [0.25]]),
    )
    np.testing.assert_allclose(targets[0], 0.5 * mixture, atol=1e-5)
