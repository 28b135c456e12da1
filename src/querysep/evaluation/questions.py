"""Questions to a separator with known answers, and the figures of what it says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from querysep.errors import QueryError
from querysep.evaluation.metrics import peak_db, si_sdr_db, silence_sdr_db, snr_db
from querysep.pipeline import Separation, Separator
from querysep.queries.query import Query
from querysep.types import Audio, FloatArray


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
