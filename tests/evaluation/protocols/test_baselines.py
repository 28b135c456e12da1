"""What separations are held against."""

import numpy as np
import pytest
from numpy.typing import NDArray

from querysep.evaluation.metrics.signal import snr_db
from querysep.evaluation.protocols.baselines import HOP, N_FFT, _factorise, ideal_ratio_mask, separate_by_nmf

RATE = 32_000


def _notes(pitches_hz: list[float], seed: int) -> NDArray[np.float32]:
    """Six short notes with three partials, in an order of its own."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(RATE // 4) / RATE
    notes = []
    for pitch_hz in rng.permutation(np.resize(pitches_hz, 6)):
        partials = sum(np.sin(2 * np.pi * pitch_hz * k * time_s) / k for k in (1, 2, 3))
        notes.append(partials * np.exp(-6 * time_s))
    return (0.2 * np.concatenate(notes)).astype(np.float32)


@pytest.mark.parametrize("wanted", ["low", "high"])
def test_nmf_takes_out_what_the_query_sounds_like(wanted: str) -> None:
    low, high = _notes([220.0, 277.0, 330.0], 1), _notes([1234.0, 1480.0], 2)
    mixture = low + high
    target = low if wanted == "low" else high
    query = _notes([220.0, 277.0, 330.0], 3) if wanted == "low" else _notes([1234.0, 1480.0], 4)
    estimate = separate_by_nmf(mixture, query)
    assert estimate.shape == mixture.shape
    assert snr_db(target, estimate) - snr_db(target, mixture) > 6


def test_nmf_gives_the_same_again() -> None:
    wave = _notes([220.0, 1234.0], 1)[: RATE // 4]
    np.testing.assert_array_equal(separate_by_nmf(wave, wave), separate_by_nmf(wave, wave))


def test_known_bases_stay_as_they_are_while_the_others_learn() -> None:
    rng = np.random.default_rng(0)
    bases, activations = rng.random((4, 30)), rng.random((50, 4))
    magnitude = activations @ bases
    start = np.concatenate((bases[:2], rng.random((2, 30))))
    _, learnt = _factorise(magnitude, start, 2, rng)
    np.testing.assert_array_equal(learnt[:2], bases[:2])
    assert np.abs(learnt[2:] - start[2:]).max() > 0.1


def test_known_bases_explain_as_our_own_rule_for_them_does() -> None:
    """With all bases known the activations follow Lee and Seung's rule for the divergence, written out here."""
    rng = np.random.default_rng(1)
    bases, magnitude = rng.random((3, 20)), rng.random((10, 20))
    activations, learnt = _factorise(magnitude, bases.copy(), 3, np.random.default_rng(5))
    ours = np.sqrt(magnitude.mean() / 20) * np.random.default_rng(5).uniform(0.5, 1.5, (10, 3))
    for _ in range(60):
        ours *= (magnitude / (ours @ bases)) @ bases.T / bases.sum(axis=1)
    np.testing.assert_allclose(activations, ours, rtol=1e-3)
    np.testing.assert_array_equal(learnt, bases)


@pytest.mark.parametrize("gain", [0.3, 1.0])
def test_the_ideal_mask_is_hard_to_beat(gain: float) -> None:
    low, high = _notes([220.0], 1), gain * _notes([1234.0], 2)
    improvement = snr_db(low, ideal_ratio_mask(low, high)) - snr_db(low, low + high)
    assert improvement > 20
    assert snr_db(low, ideal_ratio_mask(low, np.zeros_like(low))) > 100
    assert HOP * 4 == N_FFT
