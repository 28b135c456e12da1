"""The trials of robustness: what is asked, and what the mixtures are."""

from pathlib import Path

import numpy as np
import pytest
from open_data import make_open_data

from querysep.evaluation.open_mixtures import SAMPLE_RATE, OpenMixtures
from querysep.evaluation.open_questions import audio_query
from querysep.evaluation.open_robustness import robustness_questions, robustness_tasks
from querysep.evaluation.questions import Question


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> OpenMixtures:
    return OpenMixtures(make_open_data(tmp_path_factory.mktemp("open"), recordings=12, stems=False))


def _groups(questions: list[Question]) -> dict[str, list[Question]]:
    found: dict[str, list[Question]] = {}
    for question in questions:
        found.setdefault(question.group, []).append(question)
    return found


def test_examples(mixtures: OpenMixtures) -> None:
    groups = _groups(robustness_questions(mixtures, "examples", 0))
    parts = mixtures.draw("seen", 0).parts
    for number, part in enumerate(parts):
        ten = mixtures.examples(part, 10)
        for group, indices in (
            ("one example", ten[:1]),
            ("1 of 10 examples", ten[:1]),
            ("3 of 10 examples", ten[:3]),
            ("10 of 10 examples", ten),
            ("wrong query", mixtures.examples(parts[1 - number])),
        ):
            question = groups[group][number]
            assert question.label == part.label
            wanted = audio_query(mixtures, indices).sounds
            assert len(question.query.sounds) == len(wanted)
            for one, other in zip(question.query.sounds, wanted, strict=True):
                np.testing.assert_array_equal(one.samples, other.samples)
        clean = groups["one example"][number].query.sounds[0].samples
        noise = groups["one example in noise"][number].query.sounds[0].samples - clean
        assert 10 * np.log10(np.square(clean).sum() / np.square(noise).sum()) == pytest.approx(10.0, abs=0.2)


def test_a_class_of_few_recordings_has_no_row_with_ten_examples(tmp_path: Path) -> None:
    few = OpenMixtures(make_open_data(tmp_path, recordings=10, stems=False))
    groups = _groups(robustness_questions(few, "examples", 0))
    assert len(groups["one example"]) == 2 and "10 of 10 examples" not in groups and "1 of 10 examples" not in groups


def test_lengths(mixtures: OpenMixtures) -> None:
    groups = _groups(robustness_questions(mixtures, "length", 1))
    original = mixtures.draw("seen", 1)
    assert {group: one[0].mixture.shape[1] / SAMPLE_RATE for group, one in groups.items()} == {
        "length 0.3 s": 0.3,
        "length 1 s": 1.0,
        "length 10 s": 10.0,
        "length 60 s": 60.0,
    }
    long, time = groups["length 60 s"][0].mixture[0], len(original.wave)
    np.testing.assert_allclose(long[2 * time : 3 * time], original.wave, atol=1e-6)
    for question in groups["length 0.3 s"]:
        assert question.target is not None
        part = next(part for part in original.parts if part.label == question.label)
        assert np.square(question.target).mean() > 0.1 * np.square(part.wave).mean()  # not a silent stretch
    assert robustness_questions(mixtures, "long", 1)[0].mixture.shape == (1, 600 * SAMPLE_RATE)


def test_levels(mixtures: OpenMixtures) -> None:
    groups = _groups(robustness_questions(mixtures, "level", 2))
    for level_dbfs in (0, -20, -40):
        for question in groups[f"level {level_dbfs} dBFS"]:
            assert question.target is not None
            assert 20 * np.log10(np.abs(question.mixture).max()) == pytest.approx(level_dbfs, abs=1e-3)
            loud = next(one for one in groups["level 0 dBFS"] if one.label == question.label)
            np.testing.assert_array_equal(loud.query.sounds[0].samples, question.query.sounds[0].samples)


def test_stereo(mixtures: OpenMixtures) -> None:
    for question, sign in zip(robustness_questions(mixtures, "stereo", 3), (1, -1), strict=True):
        assert question.target is not None and question.mixture.shape[0] == 2
        left, right = np.square(question.target).sum(axis=1)
        assert 10 * np.log10(left / right) == pytest.approx(sign * 4.77, abs=0.01)


def test_the_longest_mixtures_are_a_tenth() -> None:
    tasks = robustness_tasks(50)
    assert sum(trial == "long" for trial, _ in tasks) == 5
    assert sum(trial == "stereo" for trial, _ in tasks) == 50
    assert sum(trial == "long" for trial, _ in robustness_tasks(3)) == 1
