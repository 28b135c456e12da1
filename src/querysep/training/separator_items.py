"""Pairs of anchor segments of unrelated classes, as items for the separator."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from querysep.anchors.catalog import Anchor, Catalog
from querysep.dsp.mixing import equal_energy_gain
from querysep.dsp.placing import place
from querysep.errors import DataError
from querysep.training.augment import vary
from querysep.training.balance import class_weights
from querysep.training.config import SeparatorTraining

_REPEAT_SHARE = 0.35
_PAIR_TRIES = 50


@dataclass(frozen=True)
class Pair:
    """One item: what was mixed and what is asked.

    Attributes:
        segments: shape (2, time), float32; their sum is the mixture.
        conditions: shape (2, condition_dim), one query for each segment.
        wanted: shape (2,), 1 where the query's class is in the mixture, 0 where silence is the answer.
    """

    segments: Tensor
    conditions: Tensor
    wanted: Tensor


def unrelated(first: Anchor, second: Anchor) -> bool:
    """Tell whether neither class is an ancestor of the other, so that a query can mean only one of them."""
    return first.label not in second.labels and second.label not in first.labels


class SeparatorItems(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Items for the separator; item i is the same in every run with one seed."""

    def __init__(self, catalog: Catalog, training: SeparatorTraining) -> None:
        self._catalog = catalog
        self._training = training
        by_class: dict[str, list[int]] = {}
        for index, anchor in enumerate(catalog.anchors):
            by_class.setdefault(anchor.label, []).append(index)
        if len(by_class) < 2:
            raise DataError(f"The anchor catalog holds {len(by_class)} class; pairs need at least 2.")
        self._members = [np.array(members) for _, members in sorted(by_class.items())]
        self._member_of = {label: index for index, label in enumerate(sorted(by_class))}
        self._weights = class_weights(np.array([len(members) for members in self._members]))

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return (segments, conditions, wanted) of pair ``index``, see ``Pair``; there is no end of them."""
        pair = self.pair(np.random.default_rng([self._training.seed, 2, index]))
        return pair.segments, pair.conditions, pair.wanted

    def pair(self, rng: np.random.Generator) -> Pair:
        """Draw two unrelated anchors, mix them, and choose a query for each."""
        first = self._draw(rng)
        second = self._draw_unrelated([first], rng)
        waves = [torch.from_numpy(self._wave(index, rng)) for index in (first, second)]
        gain = equal_energy_gain(waves[0][None], waves[1][None])[0] * 10.0 ** (
            rng.normal(0.0, self._training.gain_db) / 20.0
        )
        segments = torch.stack((waves[0], waves[1] * gain))
        conditions = np.stack([self._condition(index, rng) for index in (first, second)])
        wanted = np.ones(2, dtype=np.float32)
        if rng.random() < 2.0 * self._training.absent_share:
            asked = int(rng.integers(2))
            conditions[asked] = self._condition(self._draw_unrelated([first, second], rng), rng)
            wanted[asked] = 0.0
        return Pair(segments, torch.from_numpy(conditions), torch.from_numpy(wanted))

    def _draw(self, rng: np.random.Generator) -> int:
        return int(rng.choice(self._members[rng.choice(len(self._members), p=self._weights)]))

    def _draw_unrelated(self, others: list[int], rng: np.random.Generator) -> int:
        anchors = self._catalog.anchors
        for _ in range(_PAIR_TRIES):
            index = self._draw(rng)
            if all(unrelated(anchors[index], anchors[other]) for other in others):
                return index
        raise DataError("Nearly all classes of the anchor catalog are related; there are no pairs to train on.")

    def _wave(self, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        segment = self._catalog.audio([index])[0]
        sounding = segment[: self._catalog.anchors[index].sounding].astype(np.float32) / 32768.0
        return place(vary(sounding, rng), self._catalog.segment_time, rng, _REPEAT_SHARE)

    def _condition(self, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Average the latent embeddings of examples: the segment itself, or others of its class."""
        anchor = self._catalog.anchors[index]
        members = self._members[self._member_of[anchor.label]]
        chosen = rng.choice(members, size=int(rng.integers(1, self._training.queries + 1)))
        others = [other for other in chosen if self._catalog.anchors[other].clip != anchor.clip]
        if not others or rng.random() < self._training.own_query_share:
            others = [index]
        mean: NDArray[np.float32] = self._catalog.latents[others].mean(axis=0)
        return mean
