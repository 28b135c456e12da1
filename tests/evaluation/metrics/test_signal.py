"""Our metrics against torchmetrics' and museval's, and the rules for silence."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from querysep.evaluation.metrics.signal import peak_db, si_sdr_db, silence_sdr_db, snr_db


@pytest.mark.parametrize("error", [0.01, 0.3, 3.0])
def test_metrics_agree_with_torchmetrics(error: float) -> None:
    rng = np.random.default_rng(1)
    reference = rng.standard_normal(8_000).astype(np.float32)
    estimate = (0.7 * reference + error * rng.standard_normal(8_000)).astype(np.float32)
    target, guess = torch.from_numpy(reference).double(), torch.from_numpy(estimate).double()
    assert snr_db(reference, estimate) == pytest.approx(float(signal_noise_ratio(guess, target)), abs=1e-4)
    wanted = float(scale_invariant_signal_distortion_ratio(guess, target))
    assert si_sdr_db(reference, estimate) == pytest.approx(wanted, abs=1e-4)


def test_silence_has_its_rules() -> None:
    wave, silence = np.ones(100, dtype=np.float32), np.zeros(100, dtype=np.float32)
    assert np.isnan(snr_db(silence, wave)) and np.isnan(si_sdr_db(silence, wave))
    assert snr_db(wave, silence) == 0.0
    assert snr_db(wave, wave) == 120.0
    assert si_sdr_db(wave, silence) == -120.0


def test_snr_is_bss_evals_sdr_of_one_window() -> None:
    """Version 4 counts whatever differs from the reference as error, so its filters do not enter the SDR."""
    museval = pytest.importorskip("museval")
    rng = np.random.default_rng(2)
    reference = rng.standard_normal((1, 8_000, 1))
    estimate = 0.7 * reference + 0.3 * rng.standard_normal(reference.shape)
    theirs = museval.evaluate(reference, estimate, win=8_000, hop=8_000)[0]
    assert snr_db(reference[0].astype(np.float32), estimate[0].astype(np.float32)) == pytest.approx(
        float(theirs[0, 0]), abs=1e-3
    )


def test_silence_sdr_is_large_for_silence_and_has_a_floor() -> None:
    rng = np.random.default_rng(0)
    mixture = (0.1 * rng.standard_normal((1, 32_000))).astype(np.float32)
    assert silence_sdr_db(mixture, mixture) == 0.0
    assert silence_sdr_db(mixture, 0.1 * mixture) == pytest.approx(20.0, abs=1e-4)
    assert silence_sdr_db(mixture, 0 * mixture) == pytest.approx(60.0, abs=0.1)  # -20 dBFS over -80 dBFS
    assert silence_sdr_db(0 * mixture, mixture) == pytest.approx(-60.0, abs=0.1)


def test_peak_is_in_decibels_of_the_references() -> None:
    reference = np.array([0.5, -0.2], dtype=np.float32)
    assert peak_db(np.array([0.0, -0.05], dtype=np.float32), reference) == pytest.approx(-20.0, abs=1e-4)
    assert peak_db(np.zeros(2, dtype=np.float32), reference) == -200.0
