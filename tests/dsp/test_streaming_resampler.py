"""The streaming resampler keeps time and length."""

import numpy as np
import pytest

from querysep.dsp.streaming_resampler import StreamingResampler, resample


@pytest.mark.parametrize("rate_in", [3_000, 11_025, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_block_size_does_not_matter_and_time_is_kept(rate_in: int, channels: int) -> None:
    time_s = np.arange(rate_in * 2 + 17) / rate_in
    tone = np.sin(2 * np.pi * 300 * time_s).astype(np.float32)
    samples = np.stack([tone * (1 - 0.5 * channel) for channel in range(channels)])
    stream = StreamingResampler(rate_in, 32_000, channels)
    pieces = [stream.push(samples[:, start : start + 999]) for start in range(0, samples.shape[1], 999)]
    streamed = np.concatenate([*pieces, stream.finish()], axis=1)
    np.testing.assert_allclose(streamed, resample(samples, rate_in, 32_000), atol=1e-6)
    assert abs(streamed.shape[1] - samples.shape[1] * 32_000 / rate_in) <= 1
    expected = np.sin(2 * np.pi * 300 * np.arange(streamed.shape[1]) / 32_000)
    inner = slice(2_000, -2_000)
    np.testing.assert_allclose(streamed[0, inner], expected[inner], atol=0.01)  # a slip of one sample gives 0.06


def test_the_same_rate_passes_untouched() -> None:
    samples = np.random.default_rng(0).standard_normal((2, 100)).astype(np.float32)
    np.testing.assert_array_equal(resample(samples, 32_000, 32_000), samples)
