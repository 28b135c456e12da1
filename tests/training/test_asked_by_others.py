"""Queries of training and validation that another recording of the class has to answer for."""

import numpy as np
import pytest
import torch
from toy_catalog import toy_catalog

from querysep.anchors.catalog import Catalog
from querysep.data.manifest import Split
from querysep.training.config import SeparatorTraining
from querysep.training.mixtures import validation_mixtures
from querysep.training.sampler import MixtureSampler


def _one_clip(catalog: Catalog, labels: set[str], *, but: int = 0) -> Catalog:
    """Let all anchors of some classes be of one clip and origin, but for the last ``but`` of each."""
    anchors = list(catalog.anchors)
    for label in labels:
        members = [index for index, anchor in enumerate(anchors) if anchor.label == label]
        for index in members[: len(members) - but]:
            anchors[index] = anchors[index].model_copy(update={"clip": f"{label}-long", "origin": f"{label}-long"})
    return Catalog(anchors, catalog.latents, catalog.audio(range(len(anchors))), catalog.facts)


def _clips_asked_by(catalog: Catalog, sampler: MixtureSampler) -> list[tuple[str, str]]:
    """Return for 200 mixtures the clips of the targets, and those of the examples."""
    found = []
    for index in range(200):
        plan = sampler.plan(index)
        for condition, target in zip(plan.conditions, plan.queried, strict=True):
            (example,) = np.flatnonzero((catalog.latents == condition).all(axis=1))
            found.append((catalog.anchors[target].clip, catalog.anchors[example].clip))
    return found


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_long_clip_does_not_ask_for_itself(split: Split) -> None:
    catalog = _one_clip(toy_catalog(split), {"Bell", "Rain", "Speech"}, but=1)
    settings = SeparatorTraining(own_query_share=0.0, queries=1)
    asked = _clips_asked_by(catalog, MixtureSampler(catalog, settings, split))
    assert ("Bell-long", "Bell-3") in asked
    assert all(target != example for target, example in asked)


def test_other_origins_ask_where_there_are_any_else_other_clips() -> None:
    catalog = toy_catalog()
    anchors = [
        anchor.model_copy(update={"origin": anchor.label if anchor.clip != "Rain-3" else "elsewhere"})
        for anchor in catalog.anchors
    ]
    catalog = Catalog(anchors, catalog.latents, catalog.audio(range(len(anchors))), catalog.facts)
    asked = _clips_asked_by(catalog, MixtureSampler(catalog, SeparatorTraining(own_query_share=0.0, queries=1)))
    assert {example for target, example in asked if target in ("Rain-0", "Rain-1", "Rain-2")} == {"Rain-3"}
    assert {example for target, example in asked if target == "Bell-0"} == {"Bell-1", "Bell-2", "Bell-3"}


def test_the_own_share_is_as_it_says() -> None:
    catalog = _one_clip(toy_catalog(), {"Bell", "Rain", "Speech"}, but=1)
    asked = _clips_asked_by(catalog, MixtureSampler(catalog, SeparatorTraining(own_query_share=0.3, queries=1)))
    assert np.mean([target == example for target, example in asked]) == pytest.approx(0.3, abs=0.06)


def test_validation_leaves_out_what_no_other_origin_can_ask_for() -> None:
    catalog = _one_clip(toy_catalog("validation"), {"Bell", "Rain"})
    batches = validation_mixtures(catalog, 60, seed=0)
    asked = torch.cat([batch.anchors[:, :2] for batch in batches]).unique().tolist()
    labels = {catalog.anchors[anchor].label for anchor in asked}
    assert labels == {anchor.label for anchor in catalog.anchors} - {"Bell", "Rain"}


def test_validation_takes_the_targets_themselves_where_there_is_nothing_else() -> None:
    catalog = toy_catalog("validation")
    catalog = _one_clip(catalog, {anchor.label for anchor in catalog.anchors} - {"Dog", "Bark"})
    assert len(validation_mixtures(catalog, 5, seed=0)[0].wanted) == 5  # Dog and Bark are related
