"""The mixer: each thing that a play says is heard in what is rendered, row by row, and levels are as published."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from published import assert_agrees, given
from torch import Tensor

from querysep.dsp.mixing import (
    KNOTS,
    Bed,
    Beds,
    Play,
    Playback,
    Room,
    add_noise,
    balance,
    noise,
    place,
    render,
    rms,
    sounding_power,
)

RATE, TIME = 32_000, 16_000
ROOM = Room(decay_s=0.2, level_db=-6.0, smoothing=3, seed=77)


def _tone(frequency_hz: float, time: int = TIME) -> Tensor:
    return 0.1 * torch.sin(2 * torch.pi * frequency_hz * torch.arange(time) / RATE)


def _played(sound: Tensor, play: Play, time: int = TIME) -> Tensor:
    return render(sound[None], Playback.of([play]), time, RATE)[0]


def test_mixtures_agree_with_the_published_ones() -> None:
    waveforms = torch.from_numpy(given("mixdata_waveforms"))
    before = waveforms.clone()
    pairs = len(waveforms) // 2
    mixed = balance(waveforms, torch.arange(2 * pairs), torch.zeros(pairs, 2))
    assert_agrees(mixed.sum(dim=1).repeat_interleave(2, dim=0), "mixdata_mixture_mix")
    assert_agrees(mixed.flatten(0, 1), "mixdata_mixture_src")
    assert torch.equal(waveforms, before)


def test_levels_are_against_the_first_and_empty_slots_are_silent() -> None:
    waves = torch.randn(5, 1_000, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 0, 5)[:, None]
    levels_db = torch.tensor([[0.0, 6.0, -3.0], [0.0, 2.0, 0.0]])
    segments = balance(waves, torch.tensor([0, 1, 2, 3, 4]), levels_db)
    assert torch.equal(segments[0, 0], waves[0]) and torch.equal(segments[1, 0], waves[3])
    found_db = 20 * torch.log10(rms(segments) / rms(segments[:, :1]))
    torch.testing.assert_close(found_db[0], levels_db[0], rtol=0, atol=1e-3)
    assert float(found_db[1, 1]) == pytest.approx(2.0, abs=1e-3) and not segments[1, 2].any()
    assert torch.isfinite(balance(torch.zeros(2, 100), torch.arange(2), torch.zeros(1, 2))).all()
    soft = 1e-5 * waves[:2]
    assert torch.equal(balance(soft, torch.arange(2), torch.zeros(1, 2))[0, 0], soft[0])


def test_a_sound_that_nothing_changes_comes_out_bit_for_bit() -> None:
    samples = torch.randint(-30_000, 30_000, (3, 500), dtype=torch.int16)
    rendered = render(samples, Playback.of([Play(500)] * 3), 700, RATE)
    assert torch.equal(rendered[:, :500], samples / 32768.0) and not rendered[:, 500:].any()


def test_speed_changes_length_and_pitch_and_lets_nothing_alias() -> None:
    for factor in (0.5, 0.8, 1.25, 2.0):
        play = Play(TIME).faster(factor)
        played = _played(_tone(1_000.0), play, 3 * TIME)
        assert play.length == round(TIME / factor) and not played[play.length :].any()
        middle = played[play.length // 4 : play.length // 2]
        spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle))).abs()
        assert float(spectrum.argmax()) * RATE / len(middle) == pytest.approx(1_000 * factor, abs=5)
        peak = int(spectrum.argmax())
        spectrum[peak - 5 : peak + 6] = 0.0
        assert spectrum.max() < 1e-3 * len(middle) * 0.05  # 60 dB below the tone
        assert float(rms(middle)) == pytest.approx(0.1 / 2**0.5, rel=0.01)
    above = _played(_tone(12_000.0), Play(TIME).faster(2.0))  # would be at 24 kHz
    assert float(rms(above[500:7_500])) < 1e-3


def test_backwards_is_the_sound_turned_round() -> None:
    sound = 0.1 * torch.randn(2_000, generator=torch.Generator().manual_seed(0))
    turned = _played(sound, Play(1_000, first=1_499.0, speed=-1.0), 1_000)
    torch.testing.assert_close(turned, sound[500:1_500].flip(0), rtol=0, atol=2e-3)


def test_places_are_where_they_are_said_to_be() -> None:
    sound = torch.arange(1.0, 101.0) / 1_000
    alone = _played(sound, Play(100, start=40), 300)
    assert not alone[:40].any() and torch.equal(alone[40:140], sound) and not alone[140:].any()
    cut = _played(sound, Play(100, start=-30), 50)
    assert torch.equal(cut, sound[30:80])
    again = _played(sound, Play(100, start=20, period=120), 400)
    assert (
        torch.equal(again[20:120], sound) and torch.equal(again[140:240], sound) and torch.equal(again[260:360], sound)
    )
    assert not again[:20].any() and not again[120:140].any()  # the gap


def test_a_short_sound_is_repeated_or_alone_and_a_long_one_cut() -> None:
    rng = np.random.default_rng(0)
    short = [Play(100).placed(1_000, rng, repeat_share=0.3) for _ in range(300)]
    assert np.mean([play.period > 0 for play in short]) == pytest.approx(0.3, abs=0.08)
    alone = [play.start for play in short if not play.period]
    assert min(alone) < 50 and max(alone) <= 900 < max(alone) + 50
    long = [Play(1_500).placed(1_000, rng, repeat_share=0.3).start for _ in range(300)]
    assert -500 <= min(long) < -450 and -50 < max(long) <= 0


def _as_before(wave: NDArray[np.float32], time: int, rng: np.random.Generator, share: float) -> NDArray[np.float32]:
    """Return what published test mixtures were made with."""
    if len(wave) >= time:
        first = int(rng.integers(0, len(wave) - time + 1))
        return wave[first : first + time]
    if rng.random() < share:
        pattern = np.concatenate((wave, np.zeros(int(rng.integers(0, max(1, len(wave)))), np.float32)))
        return np.resize(np.roll(pattern, int(rng.integers(0, len(pattern)))), time)
    first = int(rng.integers(0, time - len(wave) + 1))
    return np.pad(wave, (first, time - len(wave) - first))


@pytest.mark.parametrize("length", [1, 60, 499, 500, 800])
def test_recordings_are_placed_as_in_published_mixtures(length: int) -> None:
    wave = np.random.default_rng(1).standard_normal(length).astype(np.float32)
    for seed in range(20):
        expected = _as_before(wave, 500, np.random.default_rng(seed), 0.4)
        np.testing.assert_array_equal(place(wave, 500, np.random.default_rng(seed), 0.4), expected)


def test_a_color_is_a_gain_by_frequency() -> None:
    curve_db = (0.0, 0.0, -12.0, 0.0, 6.0, 0.0)
    for octave, gain_db in ((2.4, -12.0), (4.8, 6.0), (3.0, -6.0)):
        frequency_hz = RATE / 2 * (2.0**octave - 1) / 63  # knots lie between 1 and 64, as do bins
        tone = _tone(frequency_hz)
        colored = _played(tone, Play(TIME).colored(curve_db))
        middle = slice(4_000, 12_000)
        assert float(20 * torch.log10(rms(colored[middle]) / rms(tone[middle]))) == pytest.approx(gain_db, abs=0.2)


def test_a_room_is_a_convolution_with_noise_that_dies_away() -> None:
    click = torch.zeros(TIME)
    click[100] = 0.5
    wet = _played(click, replace(Play(TIME), room=ROOM)) / 0.5
    response = wet[100:].clone()
    response[0] -= 1.0  # the direct sound
    assert not wet[:90].abs().gt(1e-5).any()
    assert float(10 * torch.log10(response.square().sum())) == pytest.approx(-6.0, abs=0.1)
    decay = round(ROOM.decay_s * RATE)
    early, late = (float(rms(response[part])) for part in (slice(10, 650), slice(decay - 650, decay - 10)))
    assert 20 * np.log10(early / late) == pytest.approx(54.0, abs=4.0)  # 60 dB in 0.2 s, 0.18 s apart
    assert float(response[decay + 20 :].abs().max()) < 1e-6
    tail = noise(torch.tensor([ROOM.seed]), decay)[0] * 10.0 ** (-3.0 * torch.arange(decay) / decay)
    smooth = torch.nn.functional.conv1d(tail[None, None], torch.full((1, 1, 3), 1 / 3), padding=1)[0, 0]
    smooth *= 10 ** (-6 / 20) / smooth.square().sum().sqrt()
    torch.testing.assert_close(response[5 : decay - 5], smooth[5 : decay - 5], rtol=0, atol=1e-4)
    sound = 0.1 * torch.randn(TIME, generator=torch.Generator().manual_seed(0))
    expected = np.convolve(sound.numpy(), wet[98:].numpy())[2 : 2 + TIME]
    np.testing.assert_allclose(_played(sound, replace(Play(TIME), room=ROOM)).numpy(), expected, atol=1e-4)


def test_rows_do_not_touch_each_other() -> None:
    rng = np.random.default_rng(0)
    sounds = torch.randint(-3_000, 3_000, (11, 4_000), dtype=torch.int16)
    plays = []
    for row in range(11):
        play = Play(3_000).faster(1.3 if row % 2 else 1.0).colored(rng.uniform(-6, 6, KNOTS) * (row % 3 > 0))
        play = play.placed(5_000, rng, 0.5)
        plays.append(replace(play, room=Room(0.1 + 0.05 * row, -3.0, 1 + row % 5, row) if row % 4 == 1 else None))
    together = render(sounds, Playback.of(plays), 5_000, RATE)
    for row, play in enumerate(plays):
        alone = render(sounds[row : row + 1], Playback.of([play]), 5_000, RATE)[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_noise_has_the_level_and_the_color_asked_for(slope: float) -> None:
    wave = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0))
    added = add_noise(wave, torch.tensor([10.0]), torch.tensor([slope]), torch.tensor([5])) - wave
    assert float(20 * torch.log10(rms(wave) / rms(added))) == pytest.approx(10.0, abs=0.01)
    power = torch.fft.rfft(added[0]).abs().square()
    per_octave_db = 10 * torch.log10(power[4_000:8_000].mean() / power[500:1_000].mean()) / 3
    assert float(per_octave_db) == pytest.approx(-6.0 * slope, abs=0.6)


def test_beds_lie_under_their_mixtures_at_their_level_and_in_their_band() -> None:
    mixtures = torch.randn(4, 32_768, generator=torch.Generator().manual_seed(0)) * torch.logspace(-2, 0, 4)[:, None]
    brown, band = Bed(-5.0, 1.0, (0.0, 1.0), 900_000), Bed(10.0, 0.0, (0.25, 0.5), 5)
    found = Beds.of([None, brown, None, band]).under(mixtures)
    assert not found[0].any() and not found[2].any()
    for row, snr_db in ((3, 10.0), (1, -5.0)):
        assert float(20 * torch.log10(rms(mixtures[row]) / rms(found[row]))) == pytest.approx(snr_db, abs=0.01)
    power = torch.fft.rfft(found).abs().square()
    inside = power[3, 4_096:8_193].sum() / power[3].sum()
    assert float(inside) > 0.9 and float(power[3, 9_100:].sum() / power[3].sum()) < 1e-4
    assert float(power[3, :3_600].sum() / power[3].sum()) < 1e-4
    octave_db = 10 * torch.log10(power[1, 4_096:8_192].mean() / power[1, 512:1_024].mean()) / 3
    assert float(octave_db) == pytest.approx(-6.0, abs=0.6)
    assert not Beds.of([None] * 4).under(mixtures).any()


def test_a_stretch_swells_and_dies_away() -> None:
    sound = torch.arange(1.0, 1_001.0) / 1_000
    stretch = _played(sound, replace(Play(1_000).cut(200, 300, fade=10), start=50), 500)
    assert not stretch[:50].any() and not stretch[350:].any()
    torch.testing.assert_close(stretch[60:340], sound[210:490])
    torch.testing.assert_close(stretch[50:60], sound[200:210] * torch.arange(1, 11) / 10)
    torch.testing.assert_close(stretch[340:350], sound[490:500] * torch.arange(10, 0, -1) / 10)
    turned = _played(sound, Play(1_000, first=999.0, speed=-1.0).cut(200, 300, fade=1), 300)
    torch.testing.assert_close(turned[10:-10], sound.flip(0)[210:490], rtol=0, atol=2e-3)


def test_a_sound_can_be_repeated_a_few_times_only() -> None:
    sound = torch.arange(1.0, 101.0) / 1_000
    thrice = _played(sound, Play(100, start=50, period=130, times=3), 700)
    for first in (50, 180, 310):
        assert torch.equal(thrice[first : first + 100], sound)
    assert not thrice[:50].any() and not thrice[410:].any() and not thrice[150:180].any()
    begun = _played(sound, Play(100, start=-40, period=130, times=2), 300)
    assert torch.equal(begun[:60], sound[40:]) and torch.equal(begun[90:190], sound) and not begun[190:].any()


def test_a_looped_sound_has_no_gap_and_no_step() -> None:
    chance = np.random.default_rng(0)
    for speed in (1.0, 1.3):
        for _ in range(5):
            looped = Play(8_000).faster(speed).looped(chance)
            parts = looped.parts()
            assert len(parts) == 2
            ramp = torch.linspace(0.1, 0.5, 8_000)  # a plain repetition would jump from 0.5 to 0.1
            sound = ramp * torch.sin(2 * torch.pi * 440 * torch.arange(8_000) / RATE)
            played = sum((_played(sound, part, 40_000) for part in parts), torch.zeros(40_000))
            steps = played.diff().abs().max()
            assert float(steps) < 0.15 and float(played.unfold(0, 400, 400).square().mean(dim=1).min()) > 1e-4
            noisy = torch.randn(8_000, generator=torch.Generator().manual_seed(0))
            powers = sum((_played(noisy, part, 40_000) for part in parts), torch.zeros(40_000))
            frames = powers.unfold(0, 800, 800).square().mean(dim=1)
            assert float(frames.min()) > 0.6 and float(frames.max()) < 1.5  # no dip where it begins again
    assert Play(100, period=50, times=2).parts() == (Play(100, period=50, times=2),)
    assert Play(100, period=150).parts() == (Play(100, period=150),) and Play(100).parts() == (Play(100),)


def test_rows_of_one_sound_are_added() -> None:
    waves = torch.randn(3, 500, generator=torch.Generator().manual_seed(0))
    segments = balance(waves, torch.tensor([0, 0, 1]), torch.zeros(1, 2))
    torch.testing.assert_close(segments[0, 0], waves[0] + waves[1])
    assert float(rms(segments[0, 1]) / rms(segments[0, 0])) == pytest.approx(1.0, abs=1e-4)


def test_levels_can_be_those_of_sounds_while_they_are_there() -> None:
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(2, 10_000, generator=generator) * torch.tensor([[0.1], [0.5]])
    waves[1, 1_000:] *= 1e-3  # a tenth of the length, and then nearly nothing
    assert sounding_power(waves, 100)[0] == pytest.approx(float(waves[0].square().mean()), rel=1e-4)
    assert sounding_power(waves, 100)[1] == pytest.approx(float(waves[1, :1_000].square().mean()), rel=1e-4)
    assert not sounding_power(torch.zeros(2, 50), 100).any()
    segments = balance(waves, torch.arange(2), torch.tensor([[0.0, -6.0]]), sounding_frame=100)
    assert float(20 * torch.log10(rms(segments[0, 1, :1_000]) / rms(segments[0, 0]))) == pytest.approx(-6.0, abs=0.1)
    bed = Beds.of([Bed(0.0, 0.0, (0.0, 1.0), 3)])
    under, while_there = (bed.under(waves[1:], frame) for frame in (None, 100))
    assert float(20 * torch.log10(rms(while_there) / rms(under))) == pytest.approx(10.0, abs=0.1)
    assert float(rms(bed.under(torch.zeros(1, 10_000)))) == pytest.approx(0.05, abs=1e-4)


def test_hum_is_tones_at_the_multiples_of_the_mains() -> None:
    time, pitch = 4 * 32_768, 50.0 / 16_000
    mixtures = torch.randn(2, time, generator=torch.Generator().manual_seed(0))
    white = Bed(10.0, 0.0, (0.0, 1.0), 5)
    found = Beds.of([white, replace(white, hum=pitch, hum_db=20.0)]).under(mixtures)
    for row in range(2):
        assert float(20 * torch.log10(rms(mixtures[row]) / rms(found[row]))) == pytest.approx(10.0, abs=0.01)
    power = torch.fft.rfft(found).abs().square()
    share = torch.zeros_like(power[0], dtype=torch.bool)
    for number in range(1, 31):
        nearest = round(number * 50 * time / RATE)
        share[nearest - 2 : nearest + 3] = True
    assert float(power[1, share].sum() / power[1].sum()) == pytest.approx(100 / 101, abs=0.01)
    assert float(power[0, share].sum() / power[0].sum()) < 0.01
