"""Mixtures of anchor segments of unrelated classes, as items for the separator."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from querysep.anchors.catalog import Catalog
from querysep.anchors.relations import relations_of
from querysep.data.manifest import Split
from querysep.dsp.mixing import equal_energy_gain
from querysep.dsp.placing import place
from querysep.errors import DataError
from querysep.training.askers import Askers
from querysep.training.augment import place_in_room, vary
from querysep.training.balance import class_weights, trainable
from querysep.training.conditions import Conditions
from querysep.training.config import SeparatorTraining
from querysep.training.rivals import Rivals

_REPEAT_SHARE = 0.35
_TRIES = 50
_NEAR = 5  # classes that count as alike
_RELATED = "Nearly all classes of the anchor catalog are related; there are no pairs to train on."

Item = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Plan:
    """What is mixed and what is asked, before anything sounds.

    Attributes:
        chosen: the anchors that are mixed.
        levels_db: of each against the first, beyond equal energy.
        conditions: shape (2, condition_dim), a query for each of the first two.
        wanted: shape (2,), 1 where the query's class is in the mixture, 0 where silence is the answer.
        asked: of which anchors the two queries are.
    """

    chosen: list[int]
    levels_db: list[float]
    conditions: NDArray[np.float32]
    wanted: NDArray[np.float32]
    asked: tuple[int, int]


@dataclass(frozen=True)
class Mix:
    """One item: what was mixed and what is asked.

    Attributes:
        segments: shape (source, time), float32; their sum is the mixture. The first two are asked for; what is not used
            is zero.
        conditions: shape (2, condition_dim), a query for each of the first two.
        wanted: shape (2,), 1 where the query's class is in the mixture, 0 where silence is the answer.
        chosen: which anchors were mixed.
        asked: of which anchors the two queries are.
    """

    segments: Tensor
    conditions: Tensor
    wanted: Tensor
    chosen: tuple[int, ...]
    asked: tuple[int, int]

    @property
    def item(self) -> Item:
        """The tensors of a batch; the last is ``asked`` and ``chosen``, shape (2 + source,), -1 where nothing is."""
        anchors = torch.full((2 + len(self.segments),), -1)
        anchors[: 2 + len(self.chosen)] = torch.tensor([*self.asked, *self.chosen])
        return self.segments, self.conditions, self.wanted, anchors


class SeparatorItems(Dataset[Item]):
    """Items for the separator; item i is the same in every run with one seed.

    Args:
        catalog: anchors.
        training: settings.
        split: whose anchors are mixed.

    Attributes:
        rivals: tells which anchors may be heard together.

    Raises:
        DataError: too few classes are left to mix.
    """

    def __init__(self, catalog: Catalog, training: SeparatorTraining, split: Split = "train") -> None:
        self._catalog = catalog
        self._training = training
        self._relations = relations_of(anchor.labels for anchor in catalog.anchors)
        self.rivals = Rivals(catalog.anchors, self._relations)
        askers = Askers(catalog.anchors)
        self._conditions = Conditions(catalog, training, askers)
        by_class: dict[str, list[int]] = {}
        clips: dict[str, set[str]] = {}
        for index, anchor in enumerate(catalog.anchors):
            if anchor.split == split:
                clips.setdefault(anchor.label, set()).add(anchor.clip)
            good = anchor.score >= training.min_score and anchor.purity >= training.min_purity
            if anchor.split == split and good:
                by_class.setdefault(anchor.label, []).append(index)
        if split == "train":
            kept = trainable({label: len(known) for label, known in clips.items()}, training.min_clips)
        else:
            kept = askers.askable(by_class, self.rivals)
        by_class = {label: by_class[label] for label in kept if label in by_class}
        if len(by_class) < 2:
            raise DataError(
                f"The anchor catalog has {len(by_class)} class for '{split}' with a score of at least "
                f"{training.min_score}, a purity of at least {training.min_purity} and at least "
                f"{max(2, training.min_clips)} clips; mixtures need at least 2."
            )
        self._labels = sorted(by_class)
        self._members = [np.array(by_class[label]) for label in self._labels]
        self._member_of = {label: index for index, label in enumerate(self._labels)}
        counts = np.array([len(members) for members in self._members])
        self._weights = self._shares(counts)
        self._near = self._nearest() if training.hard_share else []
        self._pairs = [(self._kinds(first), self._kinds(second)) for first, second in training.pairs]

    def _shares(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how often each class is drawn; the variations of classes together have a share of their own."""
        weights = class_weights(counts, balance=self._training.class_balance)
        varied = np.array([int(members[0]) >= self._catalog.plain for members in self._members])
        if varied.all() or not varied.any():
            return weights
        share = self._training.varied_share
        weights[varied] *= share / weights[varied].sum()
        weights[~varied] *= (1.0 - share) / weights[~varied].sum()
        return weights

    def __getitem__(self, index: int) -> Item:
        """Return (segments, conditions, wanted, anchors) of mixture ``index``, see ``Mix``; there is no end of them."""
        return self.mix(np.random.default_rng([self._training.seed, 2, index])).item

    def mix(self, rng: np.random.Generator) -> Mix:
        """Draw unrelated anchors, as many as are wanted and can be found, mix them, and choose queries for two."""
        segments = torch.zeros(1 + len(self._training.source_shares), self._catalog.segment_time)
        waves: list[Tensor] = []
        plan = self.plan(rng, lambda index: waves.append(torch.from_numpy(self._wave(index, rng))[None]))
        for place_in_mix, (wave, level_db) in enumerate(zip(waves, plan.levels_db, strict=True)):
            level = equal_energy_gain(waves[0], wave) if place_in_mix else 1.0
            segments[place_in_mix] = (wave * level * 10.0 ** (level_db / 20.0))[0]
        return Mix(
            segments, torch.from_numpy(plan.conditions), torch.from_numpy(plan.wanted), tuple(plan.chosen), plan.asked
        )

    def plan(self, rng: np.random.Generator, hear: Callable[[int], None] | None = None) -> Plan:
        """Draw what is mixed and what is asked for.

        Args:
            rng: draws.
            hear: called with each anchor in turn, before its level is drawn: it may draw how the anchor sounds.
        """
        training = self._training
        if training.alone_share and rng.random() < training.alone_share:
            return self._alone(rng, hear)
        count = 2 + int(rng.choice(len(training.source_shares), p=training.source_shares))
        chosen = self._choose(count, rng)
        gain_db = 0.0 if training.mixing == "paper" else training.gain_db
        levels_db = []
        for place_in_mix, index in enumerate(chosen):
            if hear is not None:
                hear(index)
            levels_db.append(rng.normal(0.0, gain_db) if place_in_mix else 0.0)
        asked = chosen[:2]
        conditions = np.stack([self._condition(index, rng) for index in asked])
        wanted = np.ones(2, dtype=np.float32)
        if rng.random() < 2.0 * training.absent_share:
            which, absent = int(rng.integers(2)), self._draw_unrelated(chosen, rng)
            if absent is not None:
                asked[which] = absent
                conditions[which] = self._condition(absent, rng)
                wanted[which] = 0.0
        return Plan(chosen, levels_db, conditions, wanted, (asked[0], asked[1]))

    def _alone(self, rng: np.random.Generator, hear: Callable[[int], None] | None) -> Plan:
        """Draw one anchor as the whole mixture: its query asks for all of it, that of an absent class for nothing."""
        first = self._draw(rng)
        absent = self._draw_unrelated([first], rng)
        if absent is None:
            raise DataError(_RELATED)
        if hear is not None:
            hear(first)
        conditions = np.stack([self._condition(first, rng), self._condition(absent, rng)])
        return Plan([first], [0.0], conditions, np.array([1.0, 0.0], dtype=np.float32), (first, absent))

    def _choose(self, count: int, rng: np.random.Generator) -> list[int]:
        if self._pairs and rng.random() < self._training.pair_share:
            paired = self._choose_pair(count, rng)
            if len(paired) > 1:
                return paired
        first = self._draw(rng)
        chosen = [first]
        if rng.random() < self._training.hard_share:
            near = self._near[self._member_of[self._catalog.anchors[first].label]]
            alike = int(rng.choice(self._members[rng.choice(near)])) if near else first
            if self.rivals.unrelated(first, alike):
                chosen.append(alike)
        while len(chosen) < count:
            further = self._draw_unrelated(chosen, rng)
            if further is None:
                break
            chosen.append(further)
        if len(chosen) < 2:
            raise DataError(_RELATED)
        return chosen

    def _choose_pair(self, count: int, rng: np.random.Generator) -> list[int]:
        """Draw from one of the pairs, anchor by anchor, as many as are unrelated."""
        firsts, others = self._pairs[rng.integers(len(self._pairs))]
        chosen = [int(rng.choice(firsts))]
        for index in rng.choice(others, size=_TRIES):
            if len(chosen) < count and all(self.rivals.unrelated(int(index), other) for other in chosen):
                chosen.append(int(index))
        return chosen

    def _kinds(self, wanted: str) -> NDArray[np.int64]:
        """Return the anchors of a class and of all its kinds."""
        found = [
            members
            for label, members in zip(self._labels, self._members, strict=True)
            if label == wanted or wanted in self._relations.ancestors(label)
        ]
        if not found:
            raise DataError(
                f"No class that is trained on is '{wanted}' or a kind of it; take it out of the setting 'pairs'."
            )
        return np.concatenate(found)

    def _draw(self, rng: np.random.Generator) -> int:
        return int(rng.choice(self._members[rng.choice(len(self._members), p=self._weights)]))

    def _draw_unrelated(self, others: list[int], rng: np.random.Generator) -> int | None:
        """Return an anchor that may be mixed with all the others; None where there hardly is one."""
        for _ in range(_TRIES):
            index = self._draw(rng)
            if all(self.rivals.unrelated(index, other) for other in others):
                return index
        return None

    def _nearest(self) -> list[list[int]]:
        """Return for each class the unrelated ones whose mean latent embeddings lie nearest, by cosine."""
        means = np.stack([self._catalog.latents[members].mean(axis=0) for members in self._members]).astype(np.float64)
        means -= means.mean(axis=0)
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        first_of = [int(members[0]) for members in self._members]
        nearest = []
        for index, alike in enumerate(means @ means.T):
            order = [other for other in np.argsort(-alike) if self.rivals.unrelated(first_of[index], first_of[other])]
            nearest.append([int(other) for other in order[:_NEAR]])
        return nearest

    def _wave(self, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        wave = place(vary(self._catalog.wave(index), rng), self._catalog.segment_time, rng, _REPEAT_SHARE)
        if self._training.room_share and rng.random() < self._training.room_share:
            wave = place_in_room(wave, rng, self._catalog.sample_rate)
        return wave

    def _condition(self, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        return self._conditions.draw(index, self._members[self._member_of[self._catalog.anchors[index].label]], rng)


def validation_items(catalog: Catalog, count: int, seed: int, training: SeparatorTraining | None = None) -> list[Item]:
    """Return fixed items of the anchors on the validation side.

    Args:
        catalog: anchors, some of them of the split ``validation``.
        count: of mixtures.
        seed: draws them.
        training: how to mix; by default two segments of equal energy, asked for by other recordings of their class.

    Raises:
        DataError: too few classes on the validation side.
    """
    default = {"mixing": "paper", "own_query_share": 0.0, "absent_share": 0.0, "queries": 1}
    settings = (training or SeparatorTraining.model_validate(default)).model_copy(update={"seed": seed})
    items = SeparatorItems(catalog, settings, "validation")
    return [items[index] for index in range(count)]
