"""The downmix: the mean for ordinary recordings, something to hear where channels cancel."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from querysep.dsp.downmix import StreamingDownmix, downmix

RATE = 8_000


def noise(channels: int, time: int = 10_000) -> np.ndarray:
    return np.random.default_rng(channels).standard_normal((channels, time)).astype(np.float32) * 0.1


def test_ordinary_recordings_give_the_mean_to_the_last_digit() -> None:
    for channels in (1, 2, 6, 64):
        wave = noise(channels)
        np.testing.assert_array_equal(downmix(wave, RATE), wave.mean(axis=0, dtype=np.float32))


def test_channels_that_cancel_are_heard_as_the_loudest() -> None:
    one = noise(1)
    np.testing.assert_array_equal(downmix(np.concatenate((0.7 * one, -one)), RATE)[2_000:], -one[0, 2_000:])
    mixed = downmix(np.concatenate((one, -one)), RATE)
    np.testing.assert_allclose(np.square(mixed).mean(), np.square(one).mean(), rtol=0.02)


@given(cuts=st.lists(st.integers(0, 10_000), max_size=6))
def test_blocks_do_not_matter(cuts: list[int]) -> None:
    wave = noise(2)
    wave[1, 3_000:7_000] = -wave[0, 3_000:7_000]
    stream = StreamingDownmix(RATE, 2)
    parts = [stream.push(part) for part in np.split(wave, sorted(cuts), axis=1)]
    np.testing.assert_array_equal(np.concatenate([*parts, stream.finish()]), downmix(wave, RATE))
