"""Presence scores as ranks and as probabilities."""

import numpy as np
import pytest

from querysep.evaluation.metrics.classification import calibration_error, presence_auc


def test_presence_scores_are_ranked_and_read_as_probabilities() -> None:
    rng = np.random.default_rng(0)
    present, absent = rng.uniform(0.2, 1.0, 300), rng.uniform(0.0, 0.8, 200)
    pairs = (present[:, None] > absent[None]).mean()  # the definition of the area
    assert presence_auc(present, absent) == pytest.approx(float(pairs), abs=1e-6)
    assert calibration_error(np.full(30, 0.75), np.full(10, 0.75)) == pytest.approx(0.0, abs=1e-6)
    assert calibration_error(np.full(10, 0.9), np.full(10, 0.9)) == pytest.approx(0.4, abs=1e-6)
