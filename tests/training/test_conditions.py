"""What asks for a sound in training, beyond which recording it is of."""

import numpy as np
import pytest
from toy_catalog import DIM, toy_catalog

from querysep.training.askers import Askers
from querysep.training.conditions import Conditions
from querysep.training.config import SeparatorTraining


def test_a_blended_condition_lies_between_an_example_and_any_other_anchor() -> None:
    catalog = toy_catalog()
    training = SeparatorTraining(own_query_share=1.0, queries=1, query_blend=0.5)
    conditions = Conditions(catalog, training, Askers(catalog.anchors))
    example, others = catalog.latents[0], catalog.latents
    shares, towards = [], set()
    for seed in range(400):
        moved = conditions.draw(0, np.arange(12), np.random.default_rng(seed)) - example
        ways = others - example
        # the share of the way to each other anchor at which the condition would lie, and how far beside it
        share = (ways @ moved) / np.maximum((ways**2).sum(axis=1), 1e-12)
        beside = np.linalg.norm(ways * share[:, None] - moved, axis=1)
        other = int(np.argmin(beside + 10.0 * (np.linalg.norm(ways, axis=1) < 0.5)))
        if beside[other] < 1e-4 and np.linalg.norm(moved) > 0.1:
            shares.append(share[other])
            towards.add(catalog.anchors[other].label)
    assert len(shares) > 200 and {"Speech", "Bell", "Rain", "Car"} <= towards
    assert max(shares) <= 0.5 + 1e-4
    assert np.mean(shares) == pytest.approx(0.27, abs=0.04)  # those that hardly moved are left out
    assert example.shape == (DIM,)


def test_without_a_blend_the_example_itself_asks() -> None:
    catalog = toy_catalog()
    conditions = Conditions(catalog, SeparatorTraining(own_query_share=1.0, queries=1), Askers(catalog.anchors))
    assert (conditions.draw(3, np.arange(12), np.random.default_rng(0)) == catalog.latents[3]).all()
