"""Trials of the ``open`` protocol: queries with known targets, what they are in each mixture, and their figures.

First the trial itself and how a separator runs it, then the trials of a mixture by every kind of query, then those of
robustness: the same mixtures of two sounds, queried and played in other ways.
"""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from querysep.errors import QueryError
from querysep.evaluation.metrics.signal import peak_db, si_sdr_db, silence_sdr_db, snr_db
from querysep.evaluation.protocols.open_mixtures import SAMPLE_RATE, Kind, OpenMixture, OpenMixtures, Part
from querysep.io.bank_file import KeptSound, write_bank_file
from querysep.pipeline import Separation, Separator
from querysep.queries.bank import Bank
from querysep.queries.query import Query
from querysep.types import Audio, FloatArray

Way = Literal["example", "label", "span", "text", "bank"]
_IN_THE_BANK = 5  # recordings of an entry
Trial = Literal["examples", "length", "long", "level", "stereo"]
EXAMPLES = (1, 3, 10)
NOISE_DB = -10.0
LENGTHS_S = (0.3, 1.0, 10.0, 60.0)
LONG_S = 600.0
LEVELS_DBFS = (0.0, -20.0, -40.0)
PAN = (np.pi / 6, np.pi / 3)
"""Angles between left (0) and right (pi / 2) of the two sounds: each channel holds 4.8 dB more of one of them."""


@dataclass(frozen=True)
class Question:
    """A query for something in a mixture.

    Attributes:
        group: what the answer counts towards.
        label: the class that is asked for.
        query: how.
        mixture: shape (channel, time).
        sample_rate: of the mixture, in Hz.
        target: the right answer, same shape; None where it is silence.
        alone: whether the target is all that is in the mixture.
        measured_from: the first sample that counts.
        may_fail: whether a model may lack this kind of query, or this class.
        facts: what else tells the question from others.
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
    facts: dict[str, str] = field(default_factory=dict)


def ask(separator: Separator, questions: Sequence[Question]) -> list[Separation | None]:
    """Ask questions; those about one mixture (the same array) in one pass.

    Args:
        separator: who is asked.
        questions: in any order.

    Returns:
        An answer for each; None where the question may fail and the model has no such query.

    Raises:
        QueryError: a question that may not fail cannot be asked.
    """
    answers: dict[int, Separation | None] = {}
    by_mixture: dict[tuple[int, str, bool], list[int]] = {}
    for number, question in enumerate(questions):
        by_mixture.setdefault((id(question.mixture), question.query.kind, question.may_fail), []).append(number)
    for numbers in by_mixture.values():
        answers |= dict(zip(numbers, _ask_together(separator, [questions[one] for one in numbers]), strict=True))
    return [answers[number] for number in range(len(questions))]


def _ask_together(separator: Separator, questions: Sequence[Question]) -> Sequence[Separation | None]:
    mixture = Audio(questions[0].mixture, questions[0].sample_rate)
    try:
        return separator.separate_each(mixture, [question.query for question in questions])
    except QueryError:
        if not all(question.may_fail for question in questions):
            raise
        if len(questions) == 1:
            return [None]
        return [_ask_together(separator, [question])[0] for question in questions]


def figures(question: Question, answer: Separation) -> dict[str, float]:
    """Return the metrics of an answer, by name with their unit; only those that have a figure.

    Args:
        question: what was asked.
        answer: to it.
    """
    start = question.measured_from
    mixture, estimate = question.mixture[:, start:], answer.target.samples[:, start:]
    values = {"presence": answer.presence}
    if question.target is None:
        return values | {"silence_sdr_db": silence_sdr_db(mixture, estimate)}
    target = question.target[:, start:]
    if question.alone:
        values |= {"clean_snr_db": snr_db(target, estimate)}
        return {name: value for name, value in values.items() if np.isfinite(value)}
    values |= {
        "sdri_db": snr_db(target, estimate) - snr_db(target, mixture),
        "si_sdri_db": si_sdr_db(target.ravel(), estimate.ravel()) - si_sdr_db(target.ravel(), mixture.ravel()),
        "consistency_error_db": peak_db(mixture - estimate - answer.residual.samples[:, start:], mixture),
    }
    if len(target) == 2:
        values["image_error_db"] = abs(_left_over_right_db(estimate) - _left_over_right_db(target))
    return {name: value for name, value in values.items() if np.isfinite(value)}


def _left_over_right_db(stereo: FloatArray) -> float:
    """Return the level of the left channel over the right one's, dB."""
    left, right = np.square(stereo, dtype=np.float64).sum(axis=1)
    return float(10.0 * np.log10(max(left, 1e-12) / max(right, 1e-12)))


class PassingBank:
    """A bank in a folder that goes with it.

    Attributes:
        place: of the bank.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="querysep-bank-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.place = self._folder / "bank"
        self._kept: set[str] = set()

    def keep(self, name: str, sounds: Mapping[str, Audio]) -> Query:
        """Import sounds as an entry, by the file that ``querysep bank export`` writes; return the query for it.

        Args:
            name: of the entry.
            sounds: mono, by where they come from.

        Raises:
            ConfigError: the extra 'data' is not installed.
        """
        if name not in self._kept:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            file = self._folder / "entry.qsbank"
            write_bank_file(
                file,
                [KeptSound.of(sound, name, Path(source).name, now) for source, sound in sounds.items()],
                overwrite=True,
            )
            Bank(self.place).load(file)
            self._kept.add(name)
        return Query.bank(name)


def audio_query(mixtures: OpenMixtures, indices: Sequence[int]) -> Query:
    """Return a query by recordings of the test side."""
    return Query.audio(*(Audio(mixtures.read(index)[None], SAMPLE_RATE) for index in indices))


def open_questions(
    mixtures: OpenMixtures, kind: Kind, index: int, ways: Sequence[Way], bank: PassingBank | None = None
) -> list[Question]:
    """Return what is asked about a mixture.

    Args:
        mixtures: draws them.
        kind: of the mixture.
        index: of the mixture.
        ways: kinds of query; what is not there is asked for by example only, and so is a sound alone.
        bank: where the sounds are kept that are asked for by bank; without it, none is.
    """
    mixture = mixtures.draw(kind, index)
    asked = ways if kind != "clean" else [way for way in ways if way == "example"]
    questions = []
    whole = mixture.wave[None]
    for way in asked:
        for number, part in enumerate(mixture.parts):
            example = mixtures.examples(part)
            if not example:
                continue
            facts = {
                "part": str(number),
                "way": way,
                "clip": part.clip,
                "beside": "; ".join(other.label for other in mixture.parts if other is not part),
            }
            facts |= {"example": mixtures.clips[example[0]].path} if way == "example" else {}
            if way != "bank":
                questions.append(_question(mixtures, kind, mixture, part, way, example, whole, facts))
            elif bank is not None:
                query = _kept(mixtures, part, f"{kind} {index} {number}", bank)
                group = f"{part.group}, by {way}"
                questions.append(Question(group, part.label, query, whole, SAMPLE_RATE, part.wave[None], facts=facts))
    if mixture.absent is not None and "example" in ways:
        questions.append(_absent(mixtures, mixture, whole))
    return questions


def _question(
    mixtures: OpenMixtures,
    kind: Kind,
    mixture: OpenMixture,
    part: Part,
    way: Literal["example", "label", "span", "text"],
    example: Sequence[int],
    whole: FloatArray,
    facts: dict[str, str],
) -> Question:
    group = part.group if way == "example" else f"{part.group}, by {way}"
    target = part.wave[None]
    match way:
        case "example":
            query = audio_query(mixtures, example)
            return Question(group, part.label, query, whole, SAMPLE_RATE, target, alone=kind == "clean", facts=facts)
        case "span":
            lead = part.lead
            query = Query.span(0.0, len(lead) / SAMPLE_RATE)
            later, wanted = (np.concatenate((lead, wave))[None] for wave in (mixture.wave, part.wave))
            return Question(
                group,
                part.label,
                query,
                later,
                SAMPLE_RATE,
                wanted,
                measured_from=len(lead),
                may_fail=True,
                facts=facts,
            )
        case "label":
            query = Query.label(part.label)
        case "text":
            query = Query.words(part.label.lower())
    return Question(group, part.label, query, whole, SAMPLE_RATE, target, may_fail=True, facts=facts)


def _kept(mixtures: OpenMixtures, part: Part, name: str, bank: PassingBank) -> Query:
    """Keep up to five other recordings of a part's class under a name."""
    indices = mixtures.examples(part, _IN_THE_BANK)
    return bank.keep(name, {mixtures.clips[one].path: Audio(mixtures.read(one)[None], SAMPLE_RATE) for one in indices})


def _absent(mixtures: OpenMixtures, mixture: OpenMixture, whole: FloatArray) -> Question:
    assert mixture.absent is not None
    clip = mixtures.clips[mixture.absent]
    facts = {
        "part": "absent",
        "way": "example",
        "example": clip.path,
        "beside": "; ".join(part.label for part in mixture.parts),
    }
    return Question("absent", clip.labels[0], audio_query(mixtures, [mixture.absent]), whole, SAMPLE_RATE, facts=facts)


def robustness_tasks(mixtures: int) -> list[tuple[Trial, int]]:
    """Return the trials with the numbers of their mixtures; of the longest a tenth."""
    return [
        (trial, index)
        for trial in get_args(Trial)
        for index in range(max(1, mixtures // 10) if trial == "long" else mixtures)
    ]


def robustness_questions(mixtures: OpenMixtures, trial: Trial, index: int) -> list[Question]:
    """Return the questions of a trial about mixture ``index`` of the kind "seen"."""
    asking = _Asking(mixtures, mixtures.draw("seen", index))
    match trial:
        case "examples":
            return asking.examples(np.random.default_rng([7, index]))
        case "length":
            return [question for seconds in LENGTHS_S for question in asking.length(seconds)]
        case "long":
            return asking.length(LONG_S)
        case "level":
            return [question for level_dbfs in LEVELS_DBFS for question in asking.level(level_dbfs)]
        case "stereo":
            return asking.stereo()


@dataclass(frozen=True)
class _Asking:
    mixtures: OpenMixtures
    mixture: OpenMixture

    def examples(self, rng: np.random.Generator) -> list[Question]:
        """Ask by 1, 3 and 10 examples, where the class has ten; by one in noise; and by the other sound's example."""
        questions = []
        found = [self.mixtures.examples(part, max(EXAMPLES)) for part in self.mixture.parts]
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
            questions += [self._question(group, number, query, whole) for group, query in queries.items()]
        return questions

    def length(self, seconds: float) -> list[Question]:
        """Ask about a stretch of the mixture, or about the mixture over and over."""
        size = round(seconds * SAMPLE_RATE)
        waves = [part.wave for part in self.mixture.parts]
        if size < len(waves[0]):
            first = _where_all_sound(waves, size)
            waves = [wave[first : first + size] for wave in waves]
        else:
            waves = [np.resize(wave, size) for wave in waves]
        return self._by_example(f"length {seconds:g} s", [wave[None] for wave in waves])

    def level(self, level_dbfs: float) -> list[Question]:
        """Ask about the mixture at another peak level."""
        gain = np.float32(10 ** (level_dbfs / 20) / np.abs(self.mixture.wave).max())
        return self._by_example(f"level {level_dbfs:g} dBFS", [(part.wave * gain)[None] for part in self.mixture.parts])

    def stereo(self) -> list[Question]:
        """Ask about a stereo mixture in which one sound is to the left, one to the right."""
        gains = np.array([[np.cos(angle), np.sin(angle)] for angle in PAN], dtype=np.float32)
        waves = [gain[:, None] * part.wave for gain, part in zip(gains, self.mixture.parts, strict=True)]
        return self._by_example("stereo", waves)

    def _by_example(self, group: str, waves: list[FloatArray]) -> list[Question]:
        whole: FloatArray = np.sum(waves, axis=0, dtype=np.float32)
        questions = []
        for number, (part, wave) in enumerate(zip(self.mixture.parts, waves, strict=True)):
            example = self.mixtures.examples(part)
            if example and np.square(wave).mean() > 1e-9:
                query = audio_query(self.mixtures, example)
                questions.append(self._question(group, number, query, whole, wave))
        return questions

    def _question(
        self, group: str, number: int, query: Query, whole: FloatArray, target: FloatArray | None = None
    ) -> Question:
        part = self.mixture.parts[number]
        facts = {"part": str(number), "way": group, "clip": part.clip, "beside": self.mixture.parts[1 - number].label}
        wanted = part.wave[None] if target is None else target
        return Question(group, part.label, query, whole, SAMPLE_RATE, wanted, facts=facts)

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
