"""Intervals of means."""

import numpy as np
import pytest

from querysep.evaluation.metrics.intervals import bootstrap_interval


def test_interval_holds_the_mean_and_narrows() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    low, high = bootstrap_interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 * 2.0 / 20.0, rel=0.2)
