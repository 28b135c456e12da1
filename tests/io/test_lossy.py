"""Lossy codecs leave a sound where it was, and take something from it."""

import numpy as np
import pytest

from querysep.errors import AudioError
from querysep.io.lossy import lossy

RATE, TIME = 32_000, 64_000


@pytest.mark.parametrize("codec", ["MP3", "OGG"])
def test_a_coded_sound_stays_in_its_place_and_loses_something(codec: str) -> None:
    rng = np.random.default_rng(0)
    noise = np.convolve(rng.standard_normal(TIME), np.ones(4) / 4, "same")
    swelling = noise * (0.3 + np.sin(2 * np.pi * 3 * np.arange(TIME) / RATE) ** 2)
    sound = (3_000 * swelling).astype(np.int16)
    before = sound.copy()
    lost = []
    for compression in (0.3, 0.95):
        coded = lossy(sound, RATE, codec, compression)
        assert coded.shape == sound.shape and coded.dtype == np.int16
        spectra = [np.fft.rfft(one.astype(float), 2 * TIME) for one in (coded, sound)]
        assert np.fft.irfft(spectra[0] * spectra[1].conj()).argmax() == 0
        lost.append(np.square(coded.astype(float) - sound).sum() / np.square(sound.astype(float)).sum())
    assert 1e-3 < lost[0] < lost[1] < 0.4
    np.testing.assert_array_equal(sound, before)
    assert lossy(sound[:500], RATE, codec, 0.5).shape == (500,)
    assert not lossy(np.zeros(TIME, np.int16), RATE, codec, 0.5).any()


def test_a_codec_that_is_missing_is_named() -> None:
    with pytest.raises(AudioError, match=r"codec XYZ cannot be used.*codec_share=0"):
        lossy(np.zeros(100, np.int16), RATE, "XYZ", 0.5)
