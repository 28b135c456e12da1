"""What is mixed in training and what asks for it: mixtures of anchor segments of unrelated classes, with queries."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.anchors.catalog import Catalog
from querysep.anchors.relations import AnchorRelations, Relations, relations_of
from querysep.data.manifest import Split
from querysep.dsp.mixing import Bed, Beds, Play, Playback, balance, render
from querysep.errors import DataError
from querysep.training.augmentations import AUGMENTATIONS, Augmentation
from querysep.training.config import SeparatorTraining

_TRIES = 50
_FEW = 8  # mixtures
_NEAR = 5  # classes that count as alike
_RELATED = "Nearly all classes of the anchor catalog are related; there are no pairs to train on."
_VALIDATION = {"mixing": "paper", "own_query_share": 0.0, "absent_share": 0.0, "queries": 1}


@dataclass(frozen=True)
class Plan:
    """A mixture before it sounds, and the queries for it.

    Attributes:
        anchors: that are mixed, one to four.
        plays: how each is played.
        levels_db: of each against the first, beyond equal energy.
        bed: steady noise under them, if there is any.
        conditions: shape (2, condition_dim), a query for each of the first two.
        wanted: shape (2,), 1 where the query's class is in the mixture, 0 where silence is the answer.
        queried: of which anchors the two queries are.
    """

    anchors: tuple[int, ...]
    plays: tuple[Play, ...]
    levels_db: tuple[float, ...]
    bed: Bed | None
    conditions: NDArray[np.float32]
    wanted: NDArray[np.float32]
    queried: tuple[int, int]


class MixtureSampler:
    """Plans mixtures; those of one seed and index are always the same.

    Args:
        catalog: anchors.
        training: settings.
        split: whose anchors are mixed.
        augment: how sounds are varied; None: as ``training.augmentation`` says.

    Attributes:
        relations: tells which anchors may be mixed.

    Raises:
        DataError: too few classes are left to mix.
    """

    def __init__(
        self,
        catalog: Catalog,
        training: SeparatorTraining,
        split: Split = "train",
        augment: Augmentation | None = None,
    ) -> None:
        self.catalog, self.training = catalog, training
        self._augment = augment or AUGMENTATIONS[training.augmentation]
        classes = relations_of(anchor.labels for anchor in catalog.anchors)
        self.relations = AnchorRelations(catalog.anchors, classes)
        self._origins = _numbered([anchor.origin for anchor in catalog.anchors])
        self._clips = _numbered([anchor.clip for anchor in catalog.anchors])
        self._spread = training.query_noise * catalog.latents[: catalog.plain].std(axis=0)
        by_class = self._usable(split)
        self._labels = sorted(by_class)
        self._members = [np.array(by_class[label]) for label in self._labels]
        self._number = {label: number for number, label in enumerate(self._labels)}
        self._weights = self._shares()
        self._near = self._nearest() if training.hard_share else []
        self._pairs = [(self._kinds(first, classes), self._kinds(second, classes)) for first, second in training.pairs]

    @property
    def time(self) -> int:
        """Samples of a mixture."""
        seconds = self.training.mixture_s
        return self.catalog.segment_time if seconds is None else round(seconds * self.catalog.sample_rate)

    def plan(self, index: int) -> Plan:
        """Return plan ``index``; there is no end of them."""
        return self.draw(np.random.default_rng([self.training.seed, 2, index]))

    def draw(self, rng: np.random.Generator) -> Plan:
        """Draw what is mixed, how it is played, and what is asked for."""
        training = self.training
        alone = bool(training.alone_share) and rng.random() < training.alone_share
        anchors = [self._draw_anchor(rng)] if alone else self._draw_anchors(rng)
        plays = tuple(self._augment(self.catalog.play(anchor), self.time, rng, training) for anchor in anchors)
        levels_db = (0.0, *(self._draw_level_db(rng) for _ in anchors[1:]))
        bed = draw_bed(rng, training.bed_snr_db) if training.bed_share and rng.random() < training.bed_share else None
        queried = (anchors * 2)[:2]
        absent = 1 if alone else int(rng.integers(2)) if rng.random() < 2.0 * training.absent_share else None
        wanted = np.ones(2, dtype=np.float32)
        if absent is not None:
            other = self._draw_unrelated(anchors, rng)
            if other is None and alone:
                raise DataError(_RELATED)
            if other is not None:
                queried[absent], wanted[absent] = other, 0.0
        conditions = np.stack([self._draw_condition(anchor, rng) for anchor in queried])
        return Plan(tuple(anchors), plays, levels_db, bed, conditions, wanted, (queried[0], queried[1]))

    def _draw_count(self, rng: np.random.Generator) -> int:
        """Draw how many sounds a mixture has."""
        return 2 + int(rng.choice(len(self.training.source_shares), p=self.training.source_shares))

    def _draw_level_db(self, rng: np.random.Generator) -> float:
        """Draw the level of a sound against the first, beyond equal energy."""
        return float(rng.normal(0.0, self.training.gain_db))

    def _draw_anchor(self, rng: np.random.Generator) -> int:
        return int(rng.choice(self._members[rng.choice(len(self._members), p=self._weights)]))

    def _draw_anchors(self, rng: np.random.Generator) -> list[int]:
        """Draw anchors of unrelated classes, as many as are wanted and can be found."""
        count = self._draw_count(rng)
        if self._pairs and rng.random() < self.training.pair_share:
            paired = self._draw_pair(count, rng)
            if len(paired) > 1:
                return paired
        anchors = [self._draw_anchor(rng)]
        if rng.random() < self.training.hard_share:
            near = self._near[self._number[self.catalog.anchors[anchors[0]].label]]
            alike = int(rng.choice(self._members[rng.choice(near)])) if near else anchors[0]
            if self.relations.unrelated(anchors[0], alike):
                anchors.append(alike)
        while len(anchors) < count:
            further = self._draw_unrelated(anchors, rng)
            if further is None:
                break
            anchors.append(further)
        if len(anchors) < 2:
            raise DataError(_RELATED)
        return anchors

    def _draw_pair(self, count: int, rng: np.random.Generator) -> list[int]:
        """Draw from one of the pairs, anchor by anchor, as many as are unrelated."""
        firsts, others = self._pairs[rng.integers(len(self._pairs))]
        anchors = [int(rng.choice(firsts))]
        for index in rng.choice(others, size=_TRIES):
            if len(anchors) < count and all(self.relations.unrelated(int(index), other) for other in anchors):
                anchors.append(int(index))
        return anchors

    def _draw_unrelated(self, others: Sequence[int], rng: np.random.Generator) -> int | None:
        """Return an anchor that may be mixed with all the others; None where there hardly is one."""
        for _ in range(_TRIES):
            index = self._draw_anchor(rng)
            if all(self.relations.unrelated(index, other) for other in others):
                return index
        return None

    def _draw_condition(self, index: int, rng: np.random.Generator) -> NDArray[np.float32]:
        """Average the latent embeddings of examples: the segment itself, or others of its class."""
        catalog, training = self.catalog, self.training
        members = self._members[self._number[catalog.anchors[index].label]]
        examples = self._examples(index, members)
        if not len(examples) or rng.random() < training.own_query_share:
            examples = np.array([index])
        else:
            examples = rng.choice(examples, size=int(rng.integers(1, training.queries + 1)))
        latents = catalog.latents[examples]
        if catalog.noisy is not None and training.noisy_query_share:
            noisy = (rng.random(len(examples)) < training.noisy_query_share) & (examples < catalog.plain)
            latents[noisy] = catalog.noisy[examples[noisy]]
        mean: NDArray[np.float32] = latents.mean(axis=0)
        if training.query_noise:
            mean = mean + (self._spread * rng.standard_normal(mean.shape)).astype(np.float32)
        return mean

    def _examples(self, index: int, members: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return those of a class that may ask for one of them: of other origins, else of other clips, else none."""
        for numbers in (self._origins, self._clips):
            others: NDArray[np.int64] = members[numbers[members] != numbers[index]]
            if len(others):
                return others
        return members[:0]

    def _usable(self, split: Split) -> dict[str, list[int]]:
        """Return the anchors of each class that is trained on."""
        training = self.training
        by_class: dict[str, list[int]] = {}
        clips: dict[str, set[str]] = {}
        for index, anchor in enumerate(self.catalog.anchors):
            if anchor.split != split:
                continue
            clips.setdefault(anchor.label, set()).add(anchor.clip)
            if anchor.score >= training.min_score and anchor.purity >= training.min_purity:
                by_class.setdefault(anchor.label, []).append(index)
        if split == "train":
            kept = trainable({label: len(known) for label, known in clips.items()}, training.min_clips)
        else:
            kept = self._with_other_origins(by_class)
        usable = {label: by_class[label] for label in kept if label in by_class}
        if len(usable) < 2:
            raise DataError(
                f"The anchor catalog has {len(usable)} class for '{split}' with a score of at least "
                f"{training.min_score}, a purity of at least {training.min_purity} and at least "
                f"{max(2, training.min_clips)} clips; mixtures need at least 2."
            )
        return usable

    def _with_other_origins(self, by_class: Mapping[str, Sequence[int]]) -> list[str]:
        """Return the classes that another origin can ask for; all of them, where no two such may be mixed."""
        several = [label for label, members in by_class.items() if len(set(self._origins[list(members)])) > 1]
        firsts = [by_class[label][0] for label in several]
        mixed = any(self.relations.unrelated(one, other) for one, other in combinations(firsts, 2))
        return several if mixed else list(by_class)

    def _shares(self) -> NDArray[np.float64]:
        """Return how often each class is drawn; the variations of classes together have a share of their own."""
        counts = np.array([len(members) for members in self._members])
        weights = class_weights(counts, balance=self.training.class_balance)
        varied = np.array([int(members[0]) >= self.catalog.plain for members in self._members])
        if varied.all() or not varied.any():
            return weights
        share = self.training.varied_share
        weights[varied] *= share / weights[varied].sum()
        weights[~varied] *= (1.0 - share) / weights[~varied].sum()
        return weights

    def _kinds(self, wanted: str, classes: Relations) -> NDArray[np.int64]:
        """Return the anchors of a class and of all its kinds."""
        found = [
            members
            for label, members in zip(self._labels, self._members, strict=True)
            if label == wanted or wanted in classes.ancestors(label)
        ]
        if not found:
            raise DataError(
                f"No class that is trained on is '{wanted}' or a kind of it; take it out of the setting 'pairs'."
            )
        return np.concatenate(found)

    def _nearest(self) -> list[list[int]]:
        """Return for each class the unrelated ones whose mean latent embeddings lie nearest, by cosine."""
        means = np.stack([self.catalog.latents[members].mean(axis=0) for members in self._members]).astype(np.float64)
        means -= means.mean(axis=0)
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
        firsts = [int(members[0]) for members in self._members]
        nearest = []
        for index, alike in enumerate(means @ means.T):
            order = [one for one in np.argsort(-alike) if self.relations.unrelated(firsts[index], firsts[one])]
            nearest.append([int(one) for one in order[:_NEAR]])
        return nearest


class PairSampler(MixtureSampler):
    """As in the paper: always two segments of equal energy."""

    def _draw_count(self, rng: np.random.Generator) -> int:
        return 2

    def _draw_level_db(self, rng: np.random.Generator) -> float:
        return 0.0


Sampler = Callable[[Catalog, SeparatorTraining, Split, Augmentation | None], MixtureSampler]
"""Makes a sampler; chosen by its name in the settings (``mixing``), or given."""

SAMPLERS: Mapping[str, Sampler] = {"random": MixtureSampler, "paper": PairSampler}


class MixtureBatch(NamedTuple):
    """Plans with the sounds that they need; the mixer renders it where the network is.

    Attributes:
        sounds: the anchors as they were recorded, shape (row, time), int16.
        playback: of each row.
        slots: which sound of which mixture each row is, shape (row,).
        levels_db: shape (batch, source).
        beds: steady noise under some of the mixtures; None where the settings have none.
        conditions: shape (batch, 2, condition_dim).
        wanted: shape (batch, 2), 1 where the query's class is in the mixture, 0 where silence is the answer.
        anchors: what the two queries are of, then what was mixed, shape (batch, 2 + source), -1 where nothing is.
        time: samples of a mixture.
        sample_rate: Hz.
    """

    sounds: Tensor
    playback: Playback
    slots: Tensor
    levels_db: Tensor
    beds: Beds | None
    conditions: Tensor
    wanted: Tensor
    anchors: Tensor
    time: int
    sample_rate: int

    def segments(self) -> Tensor:
        """Render the sounds of each mixture, shape (batch, source, time); their sums are the mixtures.

        The first two are asked for. Where there are beds, they are the last source.
        """
        waves = render(self.sounds, self.playback, self.time, self.sample_rate)
        segments = balance(waves, self.slots, self.levels_db)
        if self.beds is None:
            return segments
        return torch.cat((segments, self.beds.under(segments.sum(dim=1))[:, None]), dim=1)


class Mixtures:
    """Batches of mixtures for the separator.

    Args:
        sampler: plans them.
    """

    def __init__(self, sampler: MixtureSampler) -> None:
        self._sampler = sampler

    def first(self, count: int) -> list[MixtureBatch]:
        """Return the first mixtures in batches of eight: to render all of them at once would take gigabytes."""
        return [self.batch(range(start, min(count, start + _FEW))) for start in range(0, count, _FEW)]

    def batch(self, indices: Sequence[int]) -> MixtureBatch:
        """Return the mixtures of some indices.

        Raises:
            DataError: the sound cannot be read, or nearly all classes are related.
        """
        plans = [self._sampler.plan(index) for index in indices]
        sources = 1 + len(self._sampler.training.source_shares)
        anchors = torch.full((len(plans), 2 + sources), -1)
        levels_db = torch.zeros(len(plans), sources)
        slots = []
        for row, plan in enumerate(plans):
            anchors[row, : 2 + len(plan.anchors)] = torch.tensor([*plan.queried, *plan.anchors])
            levels_db[row, : len(plan.anchors)] = torch.tensor(plan.levels_db)
            slots += [row * sources + source for source in range(len(plan.anchors))]
        sounds = self._sampler.catalog.audio([anchor for plan in plans for anchor in plan.anchors])
        return MixtureBatch(
            torch.from_numpy(sounds),
            Playback.of([play for plan in plans for play in plan.plays]),
            torch.tensor(slots),
            levels_db,
            Beds.of([plan.bed for plan in plans]) if self._sampler.training.bed_share else None,
            torch.from_numpy(np.stack([plan.conditions for plan in plans])),
            torch.from_numpy(np.stack([plan.wanted for plan in plans])),
            anchors,
            self._sampler.time,
            self._sampler.catalog.sample_rate,
        )


def validation_mixtures(
    catalog: Catalog, count: int, seed: int, training: SeparatorTraining | None = None
) -> list[MixtureBatch]:
    """Return fixed mixtures of the anchors on the validation side, see ``Mixtures.first``.

    Args:
        catalog: anchors, some of them of the split ``validation``.
        count: of mixtures.
        seed: draws them.
        training: how to mix; by default two segments of equal energy, asked for by other recordings of their class.

    Raises:
        DataError: too few classes on the validation side.
    """
    settings = training or SeparatorTraining.model_validate(_VALIDATION)
    settings = settings.model_copy(update={"seed": seed})
    return Mixtures(SAMPLERS[settings.mixing](catalog, settings, "validation", None)).first(count)


def queries_present(anchors: Tensor, wanted: Tensor, relations: AnchorRelations) -> Tensor:
    """Tell which query of a batch is in which of its mixtures.

    Args:
        anchors: what is asked for and what was mixed, see ``MixtureBatch``, shape (batch, 2 + source).
        wanted: shape (batch, 2).
        relations: tells which anchors may be mixed.

    Returns:
        Shape (batch, 2 * batch): 1 where it is there, 0 where it is not, NaN where that is not known.
    """
    mixed = anchors[:, 2:]
    apart = relations.table(anchors[:, :2].flatten(), mixed.clamp(min=0).flatten()).reshape(-1, *mixed.shape)
    apart = (apart | (mixed < 0)).all(dim=2).T
    known = torch.where(apart, 0.0, torch.nan)
    own = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device).repeat_interleave(2, dim=1)
    return torch.where(own, wanted.flatten()[None], known)


def draw_bed(rng: np.random.Generator, snr_db: tuple[float, float]) -> Bed:
    """Draw noise between white and brown, and half of the time only a band of one to six octaves of it.

    Args:
        rng: draws.
        snr_db: level of the mixture over it, from and to.
    """
    low, high = 0.0, 1.0
    if rng.random() < 0.5:
        octaves = rng.uniform(1.0, 6.0)
        high = float(2.0 ** -rng.uniform(0.0, 7.0 - octaves))
        low = float(high * 2.0**-octaves)
    level_db = float(rng.uniform(*snr_db))
    return Bed(level_db, float(rng.uniform(0.0, 1.0)), (low, high), int(rng.integers(1 << 20)))


def trainable(clips: Mapping[str, int], min_clips: int) -> list[str]:
    """Return the classes that are trained on.

    Args:
        clips: how many each class has.
        min_clips: classes with fewer are left out; 0 refuses a class with a single clip instead.

    Raises:
        DataError: a class has a single clip, so that no recording is left to ask for another by.
    """
    single = sorted(label for label, count in clips.items() if count == 1)
    if single and not min_clips:
        named = ", ".join(f"'{label}'" for label in single[:3]) + (" ..." if len(single) > 3 else "")
        raise DataError(
            f"{len(single)} of {len(clips)} classes have a single clip: {named}. A sound is asked for by another "
            "recording of its class: add clips, or leave such classes out by --set min_clips=2."
        )
    return [label for label, count in clips.items() if count >= min_clips]


def class_weights(counts: NDArray[np.int64], cap: int = 100, balance: float = 0.5) -> NDArray[np.float64]:
    """Return the share of each class.

    Args:
        counts: items of each class.
        cap: more items than these count no more.
        balance: 1 draws every class alike, 0 every item; between them the power of a class's size falls.
    """
    weights = np.minimum(counts, cap).astype(np.float64) ** (1.0 - balance)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def _numbered(names: Sequence[str]) -> NDArray[np.int64]:
    """Return a number for each name, the same for the same; an array of the names would fill memory for AudioSet."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, len(known)) for name in names], dtype=np.int64)
