"""What is heard once samples are read: silence, channels that cancel, offsets, levels, and any numbers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import querysep
from querysep.errors import AudioError
from querysep.pipeline import Separator
from querysep.types import Audio, FloatArray

RATE = 32_000


@pytest.fixture(scope="module")
def separator(tiny_model: Path) -> Separator:
    return querysep.Separator.load(tiny_model, "cpu")


def noise(seconds: float, channels: int = 1, rate: int = RATE, seed: int = 0) -> FloatArray:
    wave = np.random.default_rng(seed).standard_normal((channels, max(1, round(seconds * rate))))
    return (wave * 0.1).astype(np.float32)


QUERY = Audio(noise(1.0, seed=9), RATE)


def test_silence_is_no_class_and_changes_no_other(separator: Separator) -> None:
    sound, pad = noise(3.0), np.zeros((1, 10 * RATE), np.float32)
    padded = np.concatenate((pad, sound, pad), axis=1)
    alone, around = (separator.separate(one, QUERY, sample_rate=RATE) for one in (sound, padded))
    assert around.presence == alone.presence
    np.testing.assert_array_equal(around.target.samples[:, 10 * RATE : 13 * RATE], alone.target.samples)
    assert not around.target.samples[:, : 10 * RATE].any() and not around.target.samples[:, 13 * RATE :].any()
    presence = separator.detector.presence(padded, RATE)
    np.testing.assert_array_equal(presence.clipwise, separator.detector.presence(sound, RATE).clipwise)
    assert not presence.framewise[:, : int(9.9 / presence.frame_s)].any()
    assert not separator.detector.presence(pad + np.float32(2e-5), RATE).framewise.any()


def test_an_inverted_channel_is_heard_as_mono(separator: Separator) -> None:
    mono = noise(3.0)
    inverted = np.concatenate((mono, -mono))
    one, other = (separator.detector.presence(wave, RATE).framewise for wave in (mono, inverted))
    np.testing.assert_allclose(other, one, atol=0.02)
    plain = separator.separate(mono, QUERY, sample_rate=RATE)
    wide = separator.separate(inverted, Audio(np.concatenate((QUERY.samples, -QUERY.samples)), RATE), sample_rate=RATE)
    assert wide.presence == pytest.approx(plain.presence, abs=0.02)
    error = np.square(wide.target.samples[0] - plain.target.samples[0]).mean()
    assert error < 0.01 * np.square(plain.target.samples[0]).mean()


@pytest.mark.parametrize("rate", [32_000, 44_100])
def test_an_offset_goes_to_the_residual(separator: Separator, rate: int) -> None:
    wave = noise(4.0, rate=rate)
    wave -= wave.mean()
    plain, shifted = (separator.separate(wave + np.float32(dc), QUERY, sample_rate=rate) for dc in (0.0, 0.2))
    inside = slice(rate // 10, -rate // 10)
    assert abs(float(shifted.target.samples[0, inside].mean())) < 1e-3
    np.testing.assert_allclose(shifted.target.samples + shifted.residual.samples, wave + np.float32(0.2), atol=1e-6)
    assert plain.target.samples.std() > 1e-3


def test_a_quiet_recording_is_heard_alike_at_any_level(separator: Separator) -> None:
    wave = noise(3.0)
    quiet = [separator.detector.presence(wave * np.float32(10 ** (db / 20)), RATE) for db in (-30, -60)]
    np.testing.assert_allclose(quiet[0].framewise, quiet[1].framewise, atol=2e-3)


def test_an_array_is_one_recording_to_a_stream(separator: Separator) -> None:
    wave = noise(2.0, channels=2)
    for whole in (wave, torch.from_numpy(wave)):
        streamed = np.concatenate(list(separator.stream(whole, QUERY, RATE)), axis=1)
        expected = np.concatenate(list(separator.stream(iter([wave]), QUERY, RATE)), axis=1)
        np.testing.assert_array_equal(streamed, expected)


@pytest.fixture
def doubles() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_other_dtypes(separator: Separator, doubles: None) -> None:
    wave = torch.from_numpy(noise(2.0))
    result = separator.separate(wave.bfloat16(), QUERY, sample_rate=RATE)
    assert result.target.samples.dtype == np.float32
    np.testing.assert_array_equal(
        result.target.samples, separator.separate(wave.bfloat16().float(), QUERY, sample_rate=RATE).target.samples
    )


def test_tiny_queries_and_unscaled_integers_are_told(separator: Separator) -> None:
    result = separator.separate(noise(1.0) * 1e5, noise(0.03, seed=1), sample_rate=RATE)
    told = " ".join(result.report.warnings)
    assert "too little to tell" in told and "divide them by" in told


@settings(max_examples=5, deadline=None)
@given(
    seconds=st.floats(0.1, 4),
    channels=st.sampled_from([1, 2, 3, 6, 70]),
    rate=st.sampled_from([1_000, 8_000, 44_100, 192_000, 768_000]),
    scale=st.sampled_from([1e-45, 1e-30, 1e-4, 1.0, 1e4, 1e30]),
)
@example(seconds=0, channels=1, rate=768_000, scale=1.0)
@example(seconds=180, channels=1, rate=1_000, scale=1.0)
@example(seconds=1, channels=70, rate=1_000, scale=1e30)
def test_any_finite_recording_adds_up(
    separator: Separator, seconds: float, channels: int, rate: int, scale: float
) -> None:
    seconds = min(seconds, 2e5 / (channels * rate) if seconds < 100 else seconds)
    wave = (noise(seconds, channels, rate).astype(np.float64) * scale).astype(np.float32)
    result = separator.separate(wave, QUERY, sample_rate=rate)
    assert np.isfinite(result.target.samples).all() and np.isfinite(result.presence)
    error = np.abs(result.target.samples.astype(np.float64) + result.residual.samples - wave).max()
    assert error <= 1e-6 * max(float(np.abs(wave).max()), 1e-30)


@settings(max_examples=10)
@given(place=st.integers(0, 999), bad=st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_no_number_is_refused(separator: Separator, place: int, bad: float) -> None:
    wave = np.zeros((1, 1_000), np.float32)
    wave[0, place] = bad
    with pytest.raises(AudioError, match="NaN or infinite"):
        separator.separate(wave, QUERY, sample_rate=RATE)
