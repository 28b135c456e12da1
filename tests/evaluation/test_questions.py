"""How questions are put together into passes, and what figures their answers get."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from querysep.errors import QueryError
from querysep.evaluation.questions import Question, ask, figures
from querysep.queries.query import Query
from querysep.types import Audio

RATE = 32_000


def _wave(seed: int, channels: int = 1) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, 4_000))).astype(np.float32)


def _question(mixture: NDArray[np.float32], query: Query, **facts: Any) -> Question:
    return Question("group", "Dog", query, mixture, RATE, **facts)


def _answer(target: NDArray[np.float32], mixture: NDArray[np.float32]) -> Any:
    return SimpleNamespace(target=Audio(target, RATE), residual=Audio(mixture - target, RATE), presence=0.5)


class Recording:
    """A separator that notes what it was asked; it knows no label but Dog."""

    def __init__(self) -> None:
        self.passes: list[list[str]] = []

    def separate_each(self, mixture: Audio, queries: list[Query]) -> list[str]:
        self.passes.append([query.text for query in queries])
        for query in queries:
            if query.kind == "label" and query.text != "label:Dog":
                raise QueryError(f"'{query.text}' is not known.")
        return [query.text for query in queries]


def test_questions_about_one_mixture_are_one_pass() -> None:
    one, other, separator = _wave(1), _wave(2), Recording()
    questions = [
        _question(one, Query.label("Dog")),
        _question(other, Query.label("Dog")),
        _question(one, Query.label("Dog")),
    ]
    assert ask(separator, questions) == ["label:Dog"] * 3  # type: ignore[arg-type]
    assert sorted(map(len, separator.passes)) == [1, 2]


def test_only_what_the_model_lacks_goes_without_an_answer() -> None:
    mixture, separator = _wave(1), Recording()
    known, unknown = Query.label("Dog"), Query.label("Unicorn")
    questions = [_question(mixture, query, may_fail=True) for query in (unknown, known)]
    assert ask(separator, questions) == [None, "label:Dog"]  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="Unicorn"):
        ask(separator, [_question(mixture, unknown)])  # type: ignore[arg-type]


def test_improvements_count_from_where_the_question_says() -> None:
    target, rest = _wave(1), _wave(2)
    mixture = target + rest
    estimate = target + 0.1 * rest
    asked = _question(mixture, Query.label("Dog"), target=target)
    values = figures(asked, _answer(estimate, mixture))
    assert values["sdri_db"] == pytest.approx(20.0, abs=1e-3)
    assert values["si_sdri_db"] == pytest.approx(20.0, abs=0.5)
    assert values["presence"] == 0.5 and values["consistency_error_db"] < -120
    estimate[:, :1000] = 3.0
    later = _question(mixture, Query.label("Dog"), target=target, measured_from=1000)
    assert figures(later, _answer(estimate, mixture))["sdri_db"] == pytest.approx(20.0, abs=1e-3)
    assert figures(asked, _answer(estimate, mixture))["sdri_db"] < 0


def test_a_residual_that_does_not_add_up_is_seen() -> None:
    target, rest = _wave(1), _wave(2)
    answer = _answer(target, target + rest)
    answer.residual = Audio(0.9 * rest, RATE)
    error_db = figures(_question(target + rest, Query.label("Dog"), target=target), answer)["consistency_error_db"]
    assert error_db == pytest.approx(20 * np.log10(0.1 * np.abs(rest).max() / np.abs(target + rest).max()), abs=1e-3)


def test_sounds_alone_and_absent_ones_have_their_own_figures() -> None:
    wave = _wave(1)
    alone = _question(wave, Query.label("Dog"), target=wave, alone=True)
    assert figures(alone, _answer(0.9 * wave, wave)) == {"presence": 0.5, "clean_snr_db": pytest.approx(20.0, abs=1e-3)}
    absent = _question(wave, Query.label("Dog"))
    assert figures(absent, _answer(0.1 * wave, wave)) == {
        "presence": 0.5,
        "silence_sdr_db": pytest.approx(20.0, abs=1e-3),
    }


def test_the_stereo_image_is_the_balance_of_the_channels() -> None:
    target, rest = _wave(1, 2) * np.float32([[1.0], [0.5]]), _wave(2, 2)
    mixture = target + rest
    asked = _question(mixture, Query.label("Dog"), target=target)
    assert figures(asked, _answer(0.3 * target, mixture))["image_error_db"] == pytest.approx(0.0, abs=1e-3)
    mirrored = target * np.float32([[1.0], [2.0]])
    assert figures(asked, _answer(mirrored, mixture))["image_error_db"] == pytest.approx(6.02, abs=0.01)
    mono = _question(mixture[:1], Query.label("Dog"), target=target[:1])
    assert "image_error_db" not in figures(mono, _answer(target[:1], mixture[:1]))
