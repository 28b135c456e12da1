"""Our filter bank against librosa's."""

import librosa
import numpy as np
import pytest

from querysep.dsp.mel import mel_filter_bank


@pytest.mark.parametrize(
    ("rate", "n_fft", "mels", "low", "high"), [(32_000, 1024, 64, 50, 14_000), (16_000, 512, 40, 0, 8_000)]
)
def test_filters_agree_with_librosa(rate: int, n_fft: int, mels: int, low: float, high: float) -> None:
    wanted = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=mels, fmin=low, fmax=high).T
    np.testing.assert_allclose(mel_filter_bank(rate, n_fft, mels, low, high).numpy(), wanted, atol=1e-7)
