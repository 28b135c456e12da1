"""Variations of a recording that leave its class alone."""

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]


def change_speed(wave: Wave, factor: float) -> Wave:
    """Play ``wave``, shape (time,), ``factor`` times as fast by linear interpolation."""
    time = max(1, round(wave.shape[0] / factor))
    positions = np.minimum(np.arange(time) * factor, wave.shape[0] - 1)
    faster: Wave = np.interp(positions, np.arange(wave.shape[0]), wave).astype(np.float32)
    return faster


def _fast_size(time: int) -> int:
    """Return the next multiple of 4,096: a length with a large prime factor takes numpy's FFT several times as long."""
    return -(-time // 4_096) * 4_096


def rms(wave: NDArray[np.floating]) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.square(wave, dtype=np.float64).mean()))


def colour(wave: Wave, curve_db: NDArray[np.float64]) -> Wave:
    """Filter ``wave``, shape (time,), by a smooth curve through knots, evenly spaced over six octaves below Nyquist."""
    size = _fast_size(wave.shape[0])
    spectrum = np.fft.rfft(wave, size)
    position = np.log2(np.linspace(1.0, 64.0, spectrum.shape[0])) / 6.0 * (curve_db.shape[0] - 1)
    gain_db = np.interp(position, np.arange(curve_db.shape[0]), curve_db)
    return np.fft.irfft(spectrum * 10.0 ** (gain_db / 20.0), n=size)[: wave.shape[0]].astype(np.float32)


def equalise(wave: Wave, rng: np.random.Generator, range_db: float = 8.0) -> Wave:
    """Filter by a random smooth curve of at most ``range_db`` up or down."""
    return colour(wave, rng.uniform(-range_db, range_db, size=6))


def add_noise(wave: Wave, rng: np.random.Generator, snr_db: float) -> Wave:
    """Add steady noise between white and brown, ``snr_db`` below the sound."""
    size = _fast_size(wave.shape[0])
    phases = np.exp(2j * np.pi * rng.random(size // 2 + 1))
    noise = np.fft.irfft(phases * np.arange(1, size // 2 + 2) ** -rng.uniform(0.0, 1.0), n=size)[: wave.shape[0]]
    level = rms(wave) / max(rms(noise), 1e-10)
    noisy: Wave = (wave + noise * level * 10.0 ** (-snr_db / 20.0)).astype(np.float32)
    return noisy


def set_level(wave: Wave, level_db: float) -> Wave:
    """Scale to a root mean square of ``level_db`` (dB full scale) over the sounding part; silence stays."""
    sounding = wave[np.abs(wave) > 1e-4]
    if sounding.size == 0:
        return wave
    rms = float(np.sqrt(np.mean(np.square(sounding), dtype=np.float64)))
    return (wave * np.float32(10.0 ** (level_db / 20.0) / rms)).astype(np.float32)


def vary(wave: Wave, rng: np.random.Generator) -> Wave:
    """Change speed (half of the time, up to a musical third) and colour (half of the time)."""
    if rng.random() < 0.5:
        wave = change_speed(wave, float(2.0 ** rng.uniform(-1 / 3, 1 / 3)))
    if rng.random() < 0.5:
        wave = equalise(wave, rng)
    return wave


def place_in_room(wave: Wave, rng: np.random.Generator, sample_rate: int) -> Wave:
    """Add the reverberation of a made-up room: noise that dies away, darker with time, after the direct sound.

    Args:
        wave: shape (time,).
        rng: draws the reverberation time (0.1 to 0.8 s) and the level of the reverberation (-18 to 0 dB).
        sample_rate: in Hz.

    Returns:
        The same length; what rings on after the end is cut off.
    """
    decay_s = float(rng.uniform(0.1, 0.8))
    time = min(wave.shape[0], round(decay_s * sample_rate))
    if time < 2:
        return wave
    seconds = np.arange(time) / sample_rate
    tail = rng.standard_normal(time) * 10.0 ** (-3.0 * seconds / decay_s)
    # A running mean over a few samples takes the treble away, as air and walls do.
    tail = np.convolve(tail, np.ones(int(rng.integers(1, 6))), mode="same")
    level = 10.0 ** (rng.uniform(-18.0, 0.0) / 20.0)
    tail *= level / np.sqrt(np.square(tail).sum() + 1e-12)
    size = _fast_size(wave.shape[0] + time)
    wet = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(tail, size), size)[: wave.shape[0]]
    return (wave + wet).astype(np.float32)
