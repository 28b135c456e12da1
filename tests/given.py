"""Mixtures for tests: of segments that are given, and of plans."""

import torch
from torch import Tensor

from querysep.dsp.mixing import Playback
from querysep.training.mixtures import MixtureBatch, Mixtures
from querysep.training.sampler import MixtureSampler


class GivenBatch(MixtureBatch):
    """A batch whose sounds are the segments already, shape (batch, source, time)."""

    def segments(self) -> Tensor:
        """Return them as they are."""
        return self.sounds


def given(segments: Tensor, conditions: Tensor, wanted: Tensor, anchors: Tensor | None = None) -> MixtureBatch:
    """Return a batch of segments; ``anchors`` matter only to what tells presence."""
    nothing = torch.zeros(0, 4, dtype=torch.long)
    return GivenBatch(
        segments,
        Playback.of([]),
        nothing,
        nothing,
        None,
        conditions,
        wanted,
        nothing if anchors is None else anchors,
        segments.shape[-1],
        32_000,
    )


def segments_of(sampler: MixtureSampler, count: int) -> Tensor:
    """Return the rendered segments of the first mixtures, shape (batch, source, time)."""
    return Mixtures(sampler).batch(range(count)).segments()
