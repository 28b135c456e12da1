"""What robustness means for the ``open`` protocol: the same mixtures of two sounds, asked and played in other ways."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from querysep.evaluation.open_mixtures import SAMPLE_RATE, OpenMixture, OpenMixtures
from querysep.evaluation.open_questions import audio_query
from querysep.evaluation.questions import Question
from querysep.queries.query import Query
from querysep.types import Audio, FloatArray

Trial = Literal["examples", "length", "long", "level", "stereo"]
EXAMPLES = (1, 3, 10)
NOISE_DB = -10.0
LENGTHS_S = (0.3, 1.0, 10.0, 60.0)
LONG_S = 600.0
LEVELS_DBFS = (0.0, -20.0, -40.0)
PAN = (np.pi / 6, np.pi / 3)
"""Angles between left (0) and right (pi / 2) of the two sounds: each channel holds 4.8 dB more of one of them."""


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
