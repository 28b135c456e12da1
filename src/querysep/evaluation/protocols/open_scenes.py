"""What scenes of the ``open`` protocol are made of: beds, events laid into them, and noise of three colors."""

from collections.abc import Mapping, Sequence

import numpy as np

from querysep.types import FloatArray

SCENE_S = 30.0
SHORTEST_EVENT_S, LONGEST_EVENT_S = 0.3, 3.0
EVENTS = (5, 10)
MOST_OTHERS = 2
BED_DBFS = -20.0
SHORTEST_BED_S = 5.0
GAP_S = 0.5
"""Least pause between events of the target."""
NOISE_S = 10.0
NOISE_DBFS = -20.0
EXPONENTS: Mapping[str, float] = {"pink": 1.0, "brown": 2.0, "white": 0.0}
"""Colors of noise: the power of the frequency by which its power falls."""
BEDS = frozenset(
    {
        "Rain",
        "Rain on surface",
        "Wind",
        "Water",
        "Stream",
        "Waterfall",
        "Ocean",
        "Waves, surf",
        "Traffic noise, roadway noise",
        "Subway, metro, underground",
        "Crowd",
        "Hubbub, speech noise, speech babble",
        "Inside, small room",
        "Inside, large room or hall",
        "Inside, public space",
        "Environmental noise",
        "Air conditioning",
        "Mechanical fan",
        "Hum",
        "Mains hum",
    }
)
"""Classes whose recordings are what other sounds stand in."""
LIKE_NOISE = BEDS | {
    "Noise",
    "Static",
    "White noise",
    "Pink noise",
    "Hiss",
    "Steam",
    "Spray",
    "Water tap, faucet",
    "Thunderstorm",
    "Outside, rural or natural",
    "Outside, urban or manmade",
}
"""Classes that are no events, and of which nobody can say that they are not in plain noise."""
_LOWEST_HZ = 20.0
_FADE_S = 0.002
_CROSSFADE_S = 0.5
_LOUD = 0.1  # of the energy of a recording's loudest stretch
_AUDIBLE = 0.01  # of the bed's mean power


def colored_noise(
    exponent: float, level_dbfs: float, time: int, sample_rate: int, rng: np.random.Generator
) -> FloatArray:
    """Return noise whose power falls with the frequency to the power of ``exponent``, from 20 Hz on; none below.

    Args:
        exponent: 0 for white noise, 1 for pink, 2 for brown.
        level_dbfs: of its mean square; 0 is that of a signal that is 1 throughout.
        time: samples.
        sample_rate: in Hz.
        rng: where chance comes from.
    """
    frequency = np.fft.rfftfreq(time, 1.0 / sample_rate)
    gain = np.where(frequency >= _LOWEST_HZ, np.maximum(frequency, _LOWEST_HZ) ** (-exponent / 2.0), 0.0)
    wave = np.fft.irfft(np.fft.rfft(rng.standard_normal(time)) * gain, time)
    return at_level(wave.astype(np.float32), level_dbfs)


def at_level(wave: FloatArray, level_dbfs: float) -> FloatArray:
    """Return a wave, not silent, with another mean square."""
    present = float(np.square(wave, dtype=np.float64).mean())
    return wave * np.float32(np.sqrt(10.0 ** (level_dbfs / 10.0) / present))


def lengthen(sound: FloatArray, time: int, sample_rate: int, rng: np.random.Generator) -> FloatArray:
    """Return ``time`` samples of a steady sound: a random stretch; of a shorter one, it over and over.

    Args:
        sound: shape (time2,), at least 1 s.
        time: wanted samples.
        sample_rate: in Hz. Repetitions overlap by half a second, crossfaded at equal power.
        rng: where chance comes from.
    """
    overlap = round(_CROSSFADE_S * sample_rate)
    rising = np.sin(np.linspace(0.0, np.pi / 2.0, overlap)).astype(np.float32)
    whole = sound
    while len(whole) < time:
        joint = whole[-overlap:] * rising[::-1] + sound[:overlap] * rising
        whole = np.concatenate((whole[:-overlap], joint, sound[overlap:]))
    start = int(rng.integers(0, len(whole) - time + 1))
    return whole[start : start + time]


def cut_event(sound: FloatArray, sample_rate: int, rng: np.random.Generator) -> FloatArray:
    """Return a loud stretch of a recording: 0.3 to 3 s (evenly by the logarithm), or all of a shorter recording.

    Stretches are as good as another whose energy is at most 10 dB below that of the loudest.

    Args:
        sound: shape (time,), without silence around it.
        sample_rate: in Hz.
        rng: where chance comes from.
    """
    seconds = SHORTEST_EVENT_S * (LONGEST_EVENT_S / SHORTEST_EVENT_S) ** rng.random()
    size, step = min(len(sound), round(seconds * sample_rate)), sample_rate // 50
    sums = np.concatenate(([0.0], np.cumsum(np.square(sound, dtype=np.float64))))
    starts = np.arange(0, len(sound) - size + 1, step)
    energies = sums[starts + size] - sums[starts]
    start = int(rng.choice(starts[energies >= _LOUD * energies.max()]))
    fade = round(_FADE_S * sample_rate)
    event = sound[start : start + size].copy()
    event[:fade] *= np.linspace(0.0, 1.0, fade, dtype=np.float32)
    event[-fade:] *= np.linspace(1.0, 0.0, fade, dtype=np.float32)
    return event


def spread(lengths: Sequence[int], time: int, gap: int, rng: np.random.Generator) -> list[int] | None:
    """Return where events begin: in their order, anywhere, with a pause between two; None where they fill over half.

    Args:
        lengths: of the events, samples.
        time: of the scene, samples.
        gap: least pause, samples.
        rng: where chance comes from.
    """
    taken = sum(lengths)
    if taken > time / 2:
        return None
    free = time - taken - gap * (len(lengths) - 1)
    before = np.sort(rng.integers(0, free + 1, size=len(lengths)))
    done = np.concatenate(([0], np.cumsum(lengths)[:-1])) + gap * np.arange(len(lengths))
    return [int(start) for start in before + done]


def lay(events: Sequence[FloatArray], starts: Sequence[int], bed: FloatArray) -> FloatArray | None:
    """Return a track of events, each with the energy of the bed while it sounds: 0 dB.

    Args:
        events: each of shape (time2,), not silent.
        starts: of each, samples.
        bed: shape (time,).

    Returns:
        Shape (time,); None where the bed is 20 dB below its mean during one of them.
    """
    track = np.zeros_like(bed)
    mean = float(np.square(bed, dtype=np.float64).mean())
    for event, start in zip(events, starts, strict=True):
        power = float(np.square(bed[start : start + len(event)], dtype=np.float64).mean())
        if power < _AUDIBLE * mean:
            return None
        gain = np.sqrt(power / float(np.square(event, dtype=np.float64).mean()))
        track[start : start + len(event)] += np.float32(gain) * event
    return track
