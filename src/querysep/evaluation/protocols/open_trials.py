"""Trials of the ``open`` protocol: queries with known targets, what they are in each mixture, and their figures.

First a trial and how a separator runs it, then the trials of a mixture by every kind of query, then those of
robustness: the same mixtures of two sounds with other queries, lengths and levels.
"""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from querysep.data.manifest import Clip
from querysep.errors import QueryError
from querysep.evaluation.metrics.signal import peak_db, si_sdr_db, silence_sdr_db, snr_db
from querysep.evaluation.protocols.open_mixtures import SAMPLE_RATE, Kind, OpenMixture, OpenMixtures, Stem
from querysep.io.bank_file import KeptSound, write_bank_file
from querysep.pipeline import Separation, Separator
from querysep.queries.bank import Bank
from querysep.queries.query import Query
from querysep.types import Audio, FloatArray

QueryKind = Literal["example", "three examples", "label", "span", "text", "bank"]
_THREE = 3
_IN_THE_BANK = 5  # recordings of an entry
_IN_NOISE = ("example", "label", "text")
Variation = Literal["examples", "length", "long", "level", "stereo"]
EXAMPLES = (1, 3, 10)
NOISE_DB = -10.0
LENGTHS_S = (0.3, 1.0, 10.0, 60.0)
LONG_S = 600.0
LEVELS_DBFS = (0.0, -20.0, -40.0)
MARGIN_S = 0.1
"""Around an event, in which an estimate may swell and die away."""
PAN = (np.pi / 6, np.pi / 3)
"""Angles between left (0) and right (pi / 2) of the two sounds: each channel holds 4.8 dB more of one of them."""


@dataclass(frozen=True)
class Trial:
    """A query for something in a mixture.

    Attributes:
        group: what the result counts towards.
        label: the class of the target.
        query: for the target.
        mixture: shape (channel, time).
        sample_rate: of the mixture, in Hz.
        target: same shape as the mixture; None where the sound is not there.
        alone: whether the target, or noise, is all that is in the mixture.
        measured_from: the first sample that counts.
        may_fail: whether a model may lack this kind of query, or this class.
        events: when the target sounds, from sample to sample after ``measured_from``; none where that is not known.
        facts: what else tells the trial from others.
    """

    group: str
    label: str
    query: Query
    mixture: FloatArray
    sample_rate: int
    target: FloatArray | None = None
    alone: bool = False
    measured_from: int = 0
    may_fail: bool = False
    events: tuple[tuple[int, int], ...] = ()
    facts: dict[str, str] = field(default_factory=dict)


def separate_trials(separator: Separator, trials: Sequence[Trial]) -> list[Separation | None]:
    """Separate trials; those of one mixture (the same array) in one pass.

    Args:
        separator: what is measured.
        trials: in any order.

    Returns:
        A separation for each; None where the trial may fail and the model has no such query.

    Raises:
        QueryError: a query is impossible in a trial that may not fail.
    """
    separations: dict[int, Separation | None] = {}
    by_mixture: dict[tuple[int, str, bool], list[int]] = {}
    for number, trial in enumerate(trials):
        by_mixture.setdefault((id(trial.mixture), trial.query.kind, trial.may_fail), []).append(number)
    for numbers in by_mixture.values():
        separations |= dict(zip(numbers, _separate_together(separator, [trials[one] for one in numbers]), strict=True))
    return [separations[number] for number in range(len(trials))]


def _separate_together(separator: Separator, trials: Sequence[Trial]) -> Sequence[Separation | None]:
    mixture = Audio(trials[0].mixture, trials[0].sample_rate)
    try:
        return separator.separate_each(mixture, [trial.query for trial in trials])
    except QueryError:
        if not all(trial.may_fail for trial in trials):
            raise
        if len(trials) == 1:
            return [None]
        return [_separate_together(separator, [trial])[0] for trial in trials]


def figures(trial: Trial, separation: Separation) -> dict[str, float]:
    """Return the metrics of a separation, by name with their unit; only those that have a figure.

    Args:
        trial: what was wanted.
        separation: what came of it.
    """
    start = trial.measured_from
    mixture, estimate = trial.mixture[:, start:], separation.target.samples[:, start:]
    values = {"presence": separation.presence}
    if trial.target is None:
        silence_db = silence_sdr_db(mixture, estimate)
        return values | ({"target_db": -silence_db} if trial.alone else {"silence_sdr_db": silence_db})
    target = trial.target[:, start:]
    if trial.alone:
        values |= {"clean_snr_db": snr_db(target, estimate)}
        return {name: value for name, value in values.items() if np.isfinite(value)}
    if trial.events:
        values |= _event_figures(trial.events, mixture, target, estimate)
    values |= {
        "sdri_db": snr_db(target, estimate) - snr_db(target, mixture),
        "si_sdri_db": si_sdr_db(target.ravel(), estimate.ravel()) - si_sdr_db(target.ravel(), mixture.ravel()),
        "consistency_error_db": peak_db(mixture - estimate - separation.residual.samples[:, start:], mixture),
    }
    if len(target) == 2:
        values["image_error_db"] = abs(_left_over_right_db(estimate) - _left_over_right_db(target))
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _event_figures(
    events: Sequence[tuple[int, int]], mixture: FloatArray, target: FloatArray, estimate: FloatArray
) -> dict[str, float]:
    """Measure inside the target's events, and what is left of the mixture outside them."""
    inside, outside = np.zeros(mixture.shape[1], dtype=bool), np.ones(mixture.shape[1], dtype=bool)
    margin = round(MARGIN_S * SAMPLE_RATE)
    for start, end in events:
        inside[start:end] = True
        outside[max(0, start - margin) : end + margin] = False
    wanted, mixed, made = (wave[:, inside] for wave in (target, mixture, estimate))
    return {
        "inside_sdri_db": snr_db(wanted, made) - snr_db(wanted, mixed),
        "outside_db": -silence_sdr_db(mixture[:, outside], estimate[:, outside]),
    }


def _left_over_right_db(stereo: FloatArray) -> float:
    """Return the level of the left channel over the right one's, dB."""
    left, right = np.square(stereo, dtype=np.float64).sum(axis=1)
    return float(10.0 * np.log10(max(left, 1e-12) / max(right, 1e-12)))


class TemporaryBank:
    """A bank in a folder that goes with it.

    Attributes:
        place: of the bank.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="querysep-bank-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.place = self._folder / "bank"
        self._names: set[str] = set()

    def keep(self, name: str, sounds: Mapping[str, Audio]) -> Query:
        """Import sounds as an entry, by the file that ``querysep bank export`` writes; return the query for it.

        Args:
            name: of the entry.
            sounds: mono, by where they come from.

        Raises:
            ConfigError: the extra 'data' is not installed.
        """
        if name not in self._names:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            file = self._folder / "entry.qsbank"
            write_bank_file(
                file,
                [KeptSound.of(sound, name, Path(source).name, now) for source, sound in sounds.items()],
                overwrite=True,
            )
            Bank(self.place).load(file)
            self._names.add(name)
        return Query.bank(name)


def audio_query(mixtures: OpenMixtures, indices: Sequence[int]) -> Query:
    """Return a query by recordings of the test side."""
    return Query.audio(*(Audio(mixtures.read(index)[None], SAMPLE_RATE) for index in indices))


def mixture_trials(
    mixtures: OpenMixtures, kind: Kind, index: int, query_kinds: Sequence[QueryKind], bank: TemporaryBank | None = None
) -> list[Trial]:
    """Return the trials of a mixture: every stem by every kind of query, and what is not there.

    Args:
        mixtures: draws them.
        kind: of the mixture.
        index: of the mixture.
        query_kinds: kinds of query; what is not there has an example only, and so has a sound alone; in noise it has
            an example, a label and a text.
        bank: where the sounds for queries by bank are kept; without it, there are none of these.
    """
    mixture = mixtures.draw(kind, index)
    kinds = query_kinds if kind != "clean" else [one for one in query_kinds if one == "example"]
    trials = []
    whole = mixture.wave[None]
    for query_kind in kinds:
        for number, stem in enumerate(mixture.stems):
            wanted = _THREE if query_kind == "three examples" else 1
            example = mixtures.examples(stem, wanted)
            if len(example) < wanted:
                continue
            facts = {
                "part": str(number),
                "way": query_kind,
                "clip": stem.clip,
                "beside": "; ".join([*(other.label for other in mixture.stems if other is not stem), *mixture.beside]),
            }
            facts |= {"example": mixtures.clips[example[0]].path} if query_kind == "example" else {}
            if query_kind != "bank":
                trials.append(_trial(mixtures, kind, mixture, stem, query_kind, example, whole, facts))
            elif bank is not None:
                query = _keep(mixtures, stem, f"{kind} {index} {number}", bank)
                group = f"{stem.group}, by {query_kind}"
                target, events = stem.wave[None], mixture.events
                trials.append(Trial(group, stem.label, query, whole, SAMPLE_RATE, target, events=events, facts=facts))
    if kind == "noise" and mixture.absent is not None:
        clip = mixtures.clips[mixture.absent]
        trials += [_in_noise(mixtures, mixture, clip, way, whole) for way in query_kinds if way in _IN_NOISE]
    elif mixture.absent is not None and "example" in query_kinds:
        trials.append(_absent(mixtures, kind, mixture, whole))
    return trials


def _trial(
    mixtures: OpenMixtures,
    kind: Kind,
    mixture: OpenMixture,
    stem: Stem,
    query_kind: Literal["example", "three examples", "label", "span", "text"],
    example: Sequence[int],
    whole: FloatArray,
    facts: dict[str, str],
) -> Trial:
    group = stem.group if query_kind == "example" else f"{stem.group}, by {query_kind}"
    match query_kind:
        case "example" | "three examples":
            query = audio_query(mixtures, example)
        case "span":
            query = Query.span(0.0, len(stem.lead) / SAMPLE_RATE)
        case "label":
            query = Query.label(stem.label)
        case "text":
            query = Query.words(stem.label.lower())
    by_example = query_kind in {"example", "three examples"}
    trial = Trial(
        group,
        stem.label,
        query,
        whole,
        SAMPLE_RATE,
        stem.wave[None],
        alone=by_example and kind == "clean",
        may_fail=not by_example,
        events=mixture.events,
        facts=facts,
    )
    if query_kind != "span":
        return trial
    later, wanted = (np.concatenate((stem.lead, wave))[None] for wave in (mixture.wave, stem.wave))
    return replace(trial, mixture=later, target=wanted, measured_from=len(stem.lead))


def _keep(mixtures: OpenMixtures, stem: Stem, name: str, bank: TemporaryBank) -> Query:
    """Keep up to five other recordings of a stem's class under a name."""
    indices = mixtures.examples(stem, _IN_THE_BANK)
    return bank.keep(name, {mixtures.clips[one].path: Audio(mixtures.read(one)[None], SAMPLE_RATE) for one in indices})


def _absent(mixtures: OpenMixtures, kind: Kind, mixture: OpenMixture, whole: FloatArray) -> Trial:
    assert mixture.absent is not None
    clip = mixtures.clips[mixture.absent]
    facts = {
        "part": "absent",
        "way": "example",
        "example": clip.path,
        "beside": "; ".join(stem.label for stem in mixture.stems),
    }
    group = "absent" if kind == "seen" else f"{kind} absent"
    return Trial(group, clip.labels[0], audio_query(mixtures, [mixture.absent]), whole, SAMPLE_RATE, facts=facts)


def _in_noise(mixtures: OpenMixtures, mixture: OpenMixture, clip: Clip, way: QueryKind, whole: FloatArray) -> Trial:
    """Ask noise for a class by a recording of it, its name or its name in lower case."""
    assert mixture.absent is not None
    (noise,), label = mixture.beside, clip.labels[0]
    facts = {"part": "absent", "way": way, "example": clip.path, "beside": noise}
    match way:
        case "label":
            query = Query.label(label)
        case "text":
            query = Query.words(label.lower())
        case _:
            query = audio_query(mixtures, [mixture.absent])
    group = noise if way == "example" else f"{noise}, by {way}"
    return Trial(group, label, query, whole, SAMPLE_RATE, alone=True, may_fail=way != "example", facts=facts)


def robustness_tasks(mixtures: int) -> list[tuple[Variation, int]]:
    """Return the trials with the numbers of their mixtures; of the longest a tenth."""
    return [
        (variation, index)
        for variation in get_args(Variation)
        for index in range(max(1, mixtures // 10) if variation == "long" else mixtures)
    ]


def robustness_trials(mixtures: OpenMixtures, variation: Variation, index: int) -> list[Trial]:
    """Return the trials of a variation of mixture ``index`` of the kind "seen"."""
    variations = _Variations(mixtures, mixtures.draw("seen", index))
    match variation:
        case "examples":
            return variations.examples(np.random.default_rng([7, index]))
        case "length":
            return [trial for seconds in LENGTHS_S for trial in variations.length(seconds)]
        case "long":
            return variations.length(LONG_S)
        case "level":
            return [trial for level_dbfs in LEVELS_DBFS for trial in variations.level(level_dbfs)]
        case "stereo":
            return variations.stereo()


@dataclass(frozen=True)
class _Variations:
    mixtures: OpenMixtures
    mixture: OpenMixture

    def examples(self, rng: np.random.Generator) -> list[Trial]:
        """Query by 1, 3 and 10 examples, where the class has ten; by one in noise; and by the other sound's example."""
        trials = []
        found = [self.mixtures.examples(stem, max(EXAMPLES)) for stem in self.mixture.stems]
        whole = self.mixture.wave[None]
        for number, many in enumerate(found):
            if not many:
                continue
            queries = {"one example": audio_query(self.mixtures, many[:1])}
            queries["one example in noise"] = self._noisy(many[0], rng)
            if len(many) == max(EXAMPLES):
                queries |= {f"{count} of 10 examples": audio_query(self.mixtures, many[:count]) for count in EXAMPLES}
            if found[1 - number]:
                queries["wrong query"] = audio_query(self.mixtures, found[1 - number][:1])
            trials += [self._trial(group, number, query, whole) for group, query in queries.items()]
        return trials

    def length(self, seconds: float) -> list[Trial]:
        """Take a stretch of the mixture, or the mixture over and over."""
        size = round(seconds * SAMPLE_RATE)
        waves = [stem.wave for stem in self.mixture.stems]
        if size < len(waves[0]):
            first = _where_all_sound(waves, size)
            waves = [wave[first : first + size] for wave in waves]
        else:
            waves = [np.resize(wave, size) for wave in waves]
        return self._by_example(f"length {seconds:g} s", [wave[None] for wave in waves])

    def level(self, level_dbfs: float) -> list[Trial]:
        """Bring the mixture to another peak level."""
        gain = np.float32(10 ** (level_dbfs / 20) / np.abs(self.mixture.wave).max())
        return self._by_example(f"level {level_dbfs:g} dBFS", [(stem.wave * gain)[None] for stem in self.mixture.stems])

    def stereo(self) -> list[Trial]:
        """Make a stereo mixture in which one sound is to the left, one to the right."""
        gains = np.array([[np.cos(angle), np.sin(angle)] for angle in PAN], dtype=np.float32)
        waves = [gain[:, None] * stem.wave for gain, stem in zip(gains, self.mixture.stems, strict=True)]
        return self._by_example("stereo", waves)

    def _by_example(self, group: str, waves: list[FloatArray]) -> list[Trial]:
        whole: FloatArray = np.sum(waves, axis=0, dtype=np.float32)
        trials = []
        for number, (stem, wave) in enumerate(zip(self.mixture.stems, waves, strict=True)):
            example = self.mixtures.examples(stem)
            if example and np.square(wave).mean() > 1e-9:
                query = audio_query(self.mixtures, example)
                trials.append(self._trial(group, number, query, whole, wave))
        return trials

    def _trial(
        self, group: str, number: int, query: Query, whole: FloatArray, target: FloatArray | None = None
    ) -> Trial:
        stem = self.mixture.stems[number]
        facts = {"part": str(number), "way": group, "clip": stem.clip, "beside": self.mixture.stems[1 - number].label}
        wanted = stem.wave[None] if target is None else target
        return Trial(group, stem.label, query, whole, SAMPLE_RATE, wanted, facts=facts)

    def _noisy(self, index: int, rng: np.random.Generator) -> Query:
        """Return a query by an example with white noise 10 dB below it."""
        wave = self.mixtures.read(index)
        noise = rng.standard_normal(len(wave)).astype(np.float32)
        gain = np.sqrt(float(np.square(wave).mean()) * 10 ** (NOISE_DB / 10))
        return Query.audio(Audio((wave + np.float32(gain) * noise)[None], SAMPLE_RATE))


def _where_all_sound(waves: list[FloatArray], size: int) -> int:
    """Return the start of the stretch in which the quietest of the waves has most energy."""
    starts = np.arange(0, len(waves[0]) - size + 1, SAMPLE_RATE // 20)
    sums = [np.concatenate(([0.0], np.cumsum(np.square(wave, dtype=np.float64)))) for wave in waves]
    return int(starts[np.argmax(np.min([total[starts + size] - total[starts] for total in sums], axis=0))])
