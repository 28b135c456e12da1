"""Our metrics against torchmetrics', and the rules for silence."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from querysep.evaluation.metrics import bootstrap_interval, si_sdr_db, snr_db


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


def test_interval_holds_the_mean_and_narrows() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 2.0 / 20.0, rel=0.2)
