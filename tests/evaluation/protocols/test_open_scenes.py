"""What scenes are made of: noise of three colors, beds of any length, events where the bed is loud enough."""

import numpy as np
import pytest

from querysep.evaluation.protocols.open_scenes import EXPONENTS, colored_noise, cut_event, lay, lengthen, spread
from querysep.types import FloatArray

RATE = 8_000


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def _tone(seconds: float) -> FloatArray:
    wave: FloatArray = np.sin(np.arange(round(seconds * RATE)) * 0.3).astype(np.float32)
    return wave


@pytest.mark.parametrize("color", list(EXPONENTS))
def test_noise_falls_with_its_color(color: str) -> None:
    wave = colored_noise(EXPONENTS[color], -20.0, 20 * RATE, RATE, _rng())
    power = np.square(np.abs(np.fft.rfft(wave)))
    frequency = np.fft.rfftfreq(len(wave), 1 / RATE)
    low, high = (power[(frequency >= start) & (frequency < 2 * start)].mean() for start in (100.0, 1600.0))
    assert 10 * np.log10(low / high) == pytest.approx(40 * np.log10(2) * EXPONENTS[color], abs=1.0)
    assert power[(frequency < 19.0)].max() < 1e-6 * power.max()
    assert 10 * np.log10(np.square(wave).mean()) == pytest.approx(-20.0, abs=0.01)


def test_a_bed_is_a_stretch_or_goes_on_without_a_seam() -> None:
    noise = _rng().standard_normal(5 * RATE).astype(np.float32)
    short = lengthen(noise, 2 * RATE, RATE, _rng())
    assert len(short) == 2 * RATE and np.isin(short, noise).all()
    long = lengthen(noise, 23 * RATE, RATE, _rng())
    levels = np.square(long).reshape(-1, RATE // 2).mean(axis=1)
    assert len(long) == 23 * RATE and levels.min() > 0.8 and levels.max() < 1.2


def test_an_event_is_a_loud_stretch() -> None:
    sound = np.concatenate((0.01 * _tone(5.0), _tone(1.0), 0.01 * _tone(5.0)))
    rng, given = _rng(), sound.copy()
    events = [cut_event(sound, RATE, rng) for _ in range(20)]
    lengths = [len(event) / RATE for event in events]
    assert min(lengths) < 0.6 and max(lengths) > 1.5 and min(lengths) >= 0.3 and max(lengths) <= 3.0
    assert all(np.abs(event).max() > 0.9 and event[0] == event[-1] == 0 for event in events)
    assert len(cut_event(_tone(0.2), RATE, rng)) == 0.2 * RATE
    np.testing.assert_array_equal(sound, given)


def test_events_do_not_meet() -> None:
    for seed in range(20):
        lengths = [100, 400, 50, 300]
        starts = spread(lengths, 2_000, 60, np.random.default_rng(seed))
        assert starts is not None and starts[0] >= 0 and starts[-1] + lengths[-1] <= 2_000
        ends = [start + length for start, length in zip(starts, lengths, strict=True)]
        assert all(start - end >= 60 for start, end in zip(starts[1:], ends[:-1], strict=True))
    assert spread([600, 500], 2_000, 60, _rng()) is None


def test_events_are_as_loud_as_the_bed_there() -> None:
    bed = np.concatenate((_tone(2.0), 0.3 * _tone(2.0), 0.001 * _tone(2.0)))
    track = lay([5 * _tone(0.5), _tone(1.0)], [RATE, 2 * RATE + 100], bed)
    assert track is not None
    for start, length in ((RATE, RATE // 2), (2 * RATE + 100, RATE)):
        there = slice(start, start + length)
        assert np.square(track[there]).sum() == pytest.approx(np.square(bed[there]).sum(), rel=1e-3)
    assert lay([_tone(0.5)], [5 * RATE], bed) is None
