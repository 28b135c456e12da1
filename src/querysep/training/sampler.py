"""What is mixed in training and what asks for it: pairs and scenes of anchors of unrelated classes, with queries.

A pair is two to four sounds at once, as long as an anchor; a scene is longer: up to four sounds now and then, over a
bed of noise or of an anchor that is looped. A batch is of pairs or of scenes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from querysep.anchors.catalog import Catalog
from querysep.anchors.relations import AnchorRelations, Relations, relations_of
from querysep.data.manifest import Split
from querysep.dsp.mixing import IDEAL, Bed, Play, Recorder
from querysep.errors import DataError
from querysep.io.lossy import MP3_RATES
from querysep.training.augmentations import AUGMENTATIONS, Augmentation, as_event, shorten
from querysep.training.config import SeparatorTraining

_TRIES = 50
_NEAR = 5  # classes that count as alike
_BARE = 0.1  # scenes with sounds and no bed
_WHOLE = 0.4  # sounds of scenes that are not shortened
_SHORTEST_S = 0.1
_FAR_DB = 12.0  # by so much what is deepest in its room is softer
_MAINS_HZ = (50.0, 60.0)
_HUM_DB = (-10.0, 20.0)
_LIKE_NOISE = ("Noise", "Hum", "Hiss", "Static")  # with their kinds; never asked for in vain over noise
_BAND_LIMITS_HZ = (4_000.0, 8_000.0, 11_000.0)
_CLAMP = (0.1, 0.7)
_COMPRESSION = (0.3, 0.95)
_RELATED = "Nearly all classes of the anchor catalog are related; there are no pairs to train on."


@dataclass(frozen=True)
class Plan:
    """A mixture before it sounds, and the queries for it.

    Attributes:
        anchors: that are mixed, one to four; in a scene none to five.
        plays: how each is played.
        levels_db: of each against the first, beyond equal energy.
        bed: steady noise under them, if there is any.
        conditions: shape (2, condition_dim), a query for each of the first two.
        wanted: shape (2,), 1 where the query's class is in the mixture, 0 where silence is the answer.
        queried: of which anchors the two queries are.
        recorder: what the mixture is recorded with.
        codings: codec and compression of each sound before it is played; None: none.
    """

    anchors: tuple[int, ...]
    plays: tuple[Play, ...]
    levels_db: tuple[float, ...]
    bed: Bed | None
    conditions: NDArray[np.float32]
    wanted: NDArray[np.float32]
    queried: tuple[int, int]
    recorder: Recorder = IDEAL
    codings: tuple[tuple[str, float] | None, ...] = ()


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
        self._in_scenes = training.model_copy(update={"cut_share": 0.0})  # they are shortened in a way of their own
        self._beds = self._groups(training.bed_classes, classes) if training.scene_share else []
        self._like_noise = {int(one) for group in self._groups(_LIKE_NOISE, classes) for one in group}

    @property
    def time(self) -> int:
        """Samples of a pair."""
        seconds = self.training.mixture_s
        return self.catalog.segment_time if seconds is None else round(seconds * self.catalog.sample_rate)

    @property
    def scene_time(self) -> int:
        """Samples of a scene."""
        return round(self.training.scene_s * self.catalog.sample_rate)

    def is_scene(self, index: int) -> bool:
        """Tell whether mixture ``index`` is a scene: as all that are of the same step of the training."""
        training = self.training
        if not training.scene_share:
            return False
        step = index // training.batch_size
        return bool(np.random.default_rng([training.seed, 3, step]).random() < training.scene_share)

    def plan(self, index: int) -> Plan:
        """Return plan ``index``; there is no end of them."""
        rng = np.random.default_rng([self.training.seed, 2, index])
        return self.draw_scene(rng) if self.is_scene(index) else self.draw(rng)

    def draw(self, rng: np.random.Generator) -> Plan:
        """Draw what is mixed in a pair, how it is played, and what is asked for."""
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
        recording = self._draw_recording(len(anchors), rng)
        return Plan(tuple(anchors), plays, levels_db, bed, conditions, wanted, (queried[0], queried[1]), *recording)

    def draw_scene(self, rng: np.random.Generator) -> Plan:
        """Draw the sounds of a scene and its bed, how they are played, and what is asked for."""
        training = self.training
        shares = np.array(training.scene_events) / sum(training.scene_events)
        count = int(rng.choice(len(shares), p=shares))
        has_bed = count == 0 or rng.random() >= _BARE
        is_recorded = has_bed and bool(self._beds) and rng.random() < training.recorded_bed_share
        anchors = [int(rng.choice(self._beds[rng.integers(len(self._beds))]))] if is_recorded else []
        while len(anchors) < count + is_recorded:
            further = self._draw_unrelated(anchors, rng)
            if further is None:
                break
            anchors.append(further)
        sounds = [(anchor, play := self._draw_event(anchor, rng), self._draw_event_db(play, rng)) for anchor in anchors]
        askable = len(sounds)
        if is_recorded:  # it is among the first two if it is asked for, else the last
            bed_db = -float(rng.uniform(*training.bed_snr_db))
            sounds = [*sounds[1:], (anchors[0], self._loop(anchors[0], rng), bed_db)]
            if rng.random() < training.bed_query_share:
                sounds.insert(int(rng.integers(min(2, len(sounds)))), sounds.pop())
            else:
                askable -= 1
        bed = self._draw_scene_bed(rng, needed=not is_recorded) if has_bed else None
        order = tuple(anchor for anchor, _, _ in sounds)
        queried, wanted = self._draw_queried(order, askable, rng, over_noise=bed is not None)
        return Plan(
            order,
            tuple(play for _, play, _ in sounds),
            tuple(level_db - sounds[0][2] for _, _, level_db in sounds),
            bed,
            np.stack([self._draw_condition(anchor, rng) for anchor in queried]),
            wanted,
            queried,
            *self._draw_recording(len(order), rng),
        )

    def _draw_scene_bed(self, rng: np.random.Generator, *, needed: bool) -> Bed | None:
        """Draw the noise of a scene: where it has no other bed, and wherever the mains hum."""
        is_humming = rng.random() < self.training.hum_share
        if not needed and not is_humming:
            return None
        bed = draw_bed(rng, self.training.bed_snr_db)
        if not is_humming:
            return bed
        mains = float(rng.choice(_MAINS_HZ)) / (self.catalog.sample_rate / 2.0)
        return replace(bed, hum=mains, hum_db=float(rng.uniform(*_HUM_DB)))

    def _draw_event_db(self, play: Play, rng: np.random.Generator) -> float:
        """Draw the level of a sound of a scene: what is deep in its room is far, and softer."""
        far = 0.0 if play.room is None else min(1.0, 10.0 ** (play.room.level_db / 10.0))
        return self._draw_level_db(rng) - _FAR_DB * far

    def _draw_queried(
        self, anchors: Sequence[int], askable: int, rng: np.random.Generator, *, over_noise: bool
    ) -> tuple[tuple[int, int], NDArray[np.float32]]:
        """Draw what the queries of a scene are of: the first of its anchors, or what is not in it."""
        wanted = (np.arange(2) < askable).astype(np.float32)
        if askable > 1 and rng.random() < 2.0 * self.training.absent_share:
            wanted[int(rng.integers(2))] = 0.0
        queried = [0, 0]
        for place in range(2):
            other = None if wanted[place] else self._draw_absent(anchors, rng, over_noise=over_noise)
            if other is None and place >= askable:
                raise DataError(_RELATED)
            if other is None:
                wanted[place] = 1.0
            queried[place] = anchors[place] if other is None else other
        return (queried[0], queried[1]), wanted

    def _draw_absent(self, anchors: Sequence[int], rng: np.random.Generator, *, over_noise: bool) -> int | None:
        """Return an anchor of a class that is not in a scene; over noise none that is like it."""
        for _ in range(_TRIES):
            other = self._draw_unrelated(anchors, rng)
            if other is None or not (over_noise and other in self._like_noise):
                return other
        return None

    def _draw_event(self, anchor: int, rng: np.random.Generator) -> Play:
        """Draw how a sound of a scene is played."""
        catalog, time = self.catalog, self.scene_time
        play = catalog.play(anchor)
        if rng.random() >= _WHOLE:
            play = shorten(play, catalog.audio([anchor])[0], round(_SHORTEST_S * catalog.sample_rate), rng)
        return as_event(self._augment(play, time, rng, self._in_scenes), time, catalog.sample_rate, rng)

    def _loop(self, anchor: int, rng: np.random.Generator) -> Play:
        """Draw how a recorded bed is played."""
        play = self._augment(self.catalog.play(anchor), self.scene_time, rng, self._in_scenes)
        return replace(play, room=None).looped(rng)

    def _draw_recording(
        self, count: int, rng: np.random.Generator
    ) -> tuple[Recorder, tuple[tuple[str, float] | None, ...]]:
        """Draw what a mixture is recorded with, and which of its sounds were coded before."""
        training, rate = self.training, self.catalog.sample_rate
        recorder, codings = IDEAL, tuple[tuple[str, float] | None, ...]()
        if training.clipping_share and rng.random() < training.clipping_share:
            recorder = replace(recorder, clamp=float(np.exp(rng.uniform(*np.log(_CLAMP)))))
        if training.band_limit_share and rng.random() < training.band_limit_share:
            recorder = replace(recorder, band_limit=min(1.0, float(rng.choice(_BAND_LIMITS_HZ)) / (rate / 2.0)))
        if training.codec_share:
            codecs = ("MP3", "OGG") if rate in MP3_RATES else ("OGG",)
            chosen = rng.random(count) < training.codec_share
            codings = tuple(
                (str(rng.choice(codecs)), float(rng.uniform(*_COMPRESSION))) if is_coded else None
                for is_coded in chosen
            )
        return recorder, codings

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

    def _groups(self, wanted: Sequence[str], classes: Relations) -> list[NDArray[np.int64]]:
        """Return the anchors of each class that is one of those wanted, or a kind of one."""
        return [
            members
            for label, members in zip(self._labels, self._members, strict=True)
            if label in wanted or not classes.ancestors(label).isdisjoint(wanted)
        ]

    def _kinds(self, wanted: str, classes: Relations) -> NDArray[np.int64]:
        """Return the anchors of a class and of all its kinds."""
        found = self._groups([wanted], classes)
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
