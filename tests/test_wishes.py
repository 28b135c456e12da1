"""What is wanted and unwanted, together: which vectors and masks, what the report says, and that parts add up."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from recordings import WriteTone, tone

from querysep.errors import QueryError
from querysep.pipeline import Separator
from querysep.pipeline.wishes import Wishes
from querysep.queries.condition import Condition
from querysep.queries.query import Query
from querysep.types import Audio

RATE = 32_000


@pytest.fixture(scope="module")
def separator(tiny_model: Path) -> Separator:
    return Separator.load(tiny_model, "cpu")


def condition(*rows: float) -> Condition:
    vectors = torch.tensor(rows).reshape(-1, 1).expand(-1, 3).contiguous()
    return Condition(Query.label(str(rows)), vectors, torch.zeros(len(rows), 2), ())


def arranged(wishes: Wishes) -> tuple[list[float], tuple[tuple[int, ...], ...], tuple[int, ...]]:
    asked = wishes.arranged()
    assert asked.profiles.shape == (len(asked.vectors), 2)
    return asked.vectors[:, 0].tolist(), asked.rule.targets, asked.rule.unwanted


def test_which_vectors_make_which_target() -> None:
    one, two, three, none = condition(1.0), condition(3.0), condition(8.0), condition()
    assert arranged(Wishes((one, two))) == ([2.0], ((0,),), ())
    assert arranged(Wishes((one, none, two))) == ([2.0], ((0,),), ())
    assert arranged(Wishes((one, three, two), "max")) == ([1.0, 8.0, 3.0], ((0, 1, 2),), ())
    assert arranged(Wishes((three, one), "each", (two,))) == ([8.0, 1.0, 3.0], ((0,), (1,)), (2,))
    assert arranged(Wishes((one, two), "mean", (three, one))) == ([2.0, 8.0, 1.0], ((0,),), (1, 2))


def test_of_many_alternatives_the_most_alike_are_averaged() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.eye(20)[:16]
    vectors = kinds.repeat_interleave(20, dim=0) + 0.05 * torch.randn(320, 20, generator=generator)
    order = torch.randperm(320, generator=generator)
    many = tuple(Condition(Query.label(str(one)), vectors[one : one + 1], torch.zeros(1, 2), ()) for one in order)
    wishes = Wishes(many, "max", many[:2])
    asked = wishes.arranged()
    assert asked.vectors.shape == (18, 20)
    assert asked.rule.targets == (tuple(range(16)),)
    assert asked.rule.unwanted == (16, 17)
    kind_of = {one: int(order[one]) // 20 for one in range(320)}
    for number in range(16):
        members = [one for one in range(320) if asked.places[one] == number]
        assert len(members) == 20
        assert len({kind_of[one] for one in members}) == 1
        torch.testing.assert_close(asked.vectors[number], vectors[order[members]].mean(dim=0))
    wanted, unwanted = wishes.of_each(asked, [0.1] * 16 + [0.5, 0.6])
    assert wanted == [0.1] * 320
    assert unwanted == [0.5, 0.6]
    assert Wishes(many, "each").arranged().vectors.shape == (320, 20)


def test_wanting_and_not_wanting_the_same_is_told(separator: Separator, write_tone: WriteTone) -> None:
    mixture, example = write_tone(seconds=2), write_tone("dog.wav", frequency_hz=900)
    both = separator.separate(mixture, example, not_=example)
    assert any("nearly the same sound" in warning for warning in both.report.warnings)
    assert Wishes((condition(1.0),), "mean", (condition(-1.0),)).clash() is None


def test_what_is_unwanted_takes_from_the_target(separator: Separator, write_tone: WriteTone, tmp_path: Path) -> None:
    path = write_tone("mix.wav", seconds=3, channels=2, sample_rate=44_100)
    dog, bell = write_tone("dog.wav", seconds=2, frequency_hz=880), write_tone("bell.wav", frequency_hz=3_000)
    plain = separator.separate(path, dog)
    without = separator.separate(path, dog, not_=[bell, "span:1-2", "label:Rain"])
    assert 0 < np.square(without.target.samples).sum() < np.square(plain.target.samples).sum()
    whole = soundfile.read(path, dtype="float32")[0].T
    np.testing.assert_allclose(without.target.samples + without.residual.samples, whole, atol=2**-24)
    facts = without.report.not_queries
    assert [fact.text for fact in facts] == [str(bell), "span:1-2", "label:Rain"]
    assert all(0 <= fact.presence <= 1 for fact in facts)
    (files,) = separator.separate_file(path, dog, tmp_path / "out", not_=[bell, "span:1-2", "label:Rain"])
    written = soundfile.read(files.target, dtype="float32")[0].T
    np.testing.assert_allclose(written, without.target.samples, atol=1e-6)
    assert len(json.loads(files.report_path.read_text())["not_queries"]) == 3


def test_every_target_of_several_keeps_the_unwanted_out(separator: Separator, write_tone: WriteTone) -> None:
    path, bell = write_tone("mix.wav", seconds=2), write_tone("bell.wav", frequency_hz=3_000)
    queries = [write_tone("dog.wav", frequency_hz=880), "label:Rain"]
    together = separator.separate_each(path, queries, not_=bell)
    for one, query in zip(together, queries, strict=True):
        alone = separator.separate(path, query, not_=bell)
        np.testing.assert_allclose(one.target.samples, alone.target.samples, atol=1e-6)
        assert len(one.report.not_queries) == 1


def test_streams_keep_it_out_as_well(separator: Separator, write_tone: WriteTone) -> None:
    mixture = tone(2.5, RATE, 1).T
    dog, bell = write_tone("dog.wav", frequency_hz=880), write_tone("bell.wav", frequency_hz=3_000)
    wanted = separator.separate(mixture, dog, sample_rate=RATE, not_=bell).target.samples
    blocks = (mixture[:, start : start + 4_000] for start in range(0, mixture.shape[1], 4_000))
    streamed = np.concatenate(list(separator.stream(blocks, dog, RATE, not_=[bell])), axis=1)
    np.testing.assert_allclose(streamed, wanted, atol=1e-6)
    with pytest.raises(QueryError, match="a stream has none"):
        separator.stream([mixture], dog, RATE, not_="span:1-2")


def test_several_spans_are_averaged(separator: Separator) -> None:
    time_s = np.arange(6 * RATE) / RATE
    mixture = Audio((0.3 * np.sin(time_s * (3_000 + 400 * time_s)))[None].astype(np.float32), RATE)
    both = separator.separate(mixture, ["span:0-2", Query.span(4, 6)])
    assert [fact.text for fact in both.report.queries] == ["span:0-2", "span:4-6"]
    assert both.report.queries[1].examples[0].used
    parts = [Audio(mixture.samples[:, start : start + 2 * RATE], RATE) for start in (0, 4 * RATE)]
    same = separator.separate(mixture, Query.audio(*parts))
    np.testing.assert_allclose(both.target.samples, same.target.samples, atol=1e-6)


def test_spans_beside_examples_and_several_of_them_kept_out(separator: Separator, write_tone: WriteTone) -> None:
    time_s = np.arange(6 * RATE) / RATE
    mixture = Audio((0.3 * np.sin(time_s * (3_000 + 400 * time_s)))[None].astype(np.float32), RATE)
    parts = [Audio(mixture.samples[:, start * RATE : (start + 1) * RATE], RATE) for start in range(6)]
    dog = write_tone("dog.wav", frequency_hz=880)
    by_span = separator.separate(mixture, [dog, "span:0-1", "span:1-2"], not_=["span:4-5", Query.span(5, 6)])
    by_sound = separator.separate(mixture, [dog, parts[0], parts[1]], not_=[parts[4], parts[5]])
    np.testing.assert_allclose(by_span.target.samples, by_sound.target.samples, atol=1e-6)
    assert [fact.kind for fact in by_span.report.queries] == ["audio", "span", "span"]
    assert [fact.text for fact in by_span.report.not_queries] == ["span:4-5", "span:5-6"]
    one = separator.separate(mixture, [dog, "span:0-1", "span:1-2"], not_="span:4-5")
    assert np.abs(one.target.samples - by_span.target.samples).max() > 1e-6
    for wrong, message in (("span:7-8", "outside"), ("span:5-9", r"ends at 6\.00 s")):
        with pytest.raises(QueryError, match=message):
            separator.separate(mixture, dog, not_=wrong)
    quiet = Audio(mixture.samples * np.float32(1e-4), RATE)
    with pytest.raises(QueryError, match="is silent in the mixture"):
        separator.separate(quiet, "span:1-2")


def test_a_query_left_out_is_in_the_report_and_counts_no_more(
    separator: Separator, write_tone: WriteTone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "querysep.queries.resolve.outliers", lambda vectors: torch.arange(len(vectors)) == len(vectors) - 1
    )
    paths = [write_tone(f"{number}.wav", frequency_hz=300 + 50 * number) for number in range(3)]
    result = separator.separate(paths[0], list(paths))
    assert [fact.examples_used for fact in result.report.queries] == [1, 1, 0]
    assert [fact.examples[0].reason is None for fact in result.report.queries] == [True, True, False]
    assert any("left out: " in warning and "2.wav" in warning for warning in result.report.warnings)
    monkeypatch.undo()
    two = separator.separate(paths[0], paths[:2])
    np.testing.assert_allclose(result.target.samples, two.target.samples, atol=1e-6)
    assert result.presence == pytest.approx(two.presence)


def test_keeping_out_what_is_not_there_is_told(
    separator: Separator, write_tone: WriteTone, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, bell = write_tone("mix.wav", seconds=1), write_tone("bell.wav", frequency_hz=3_000)
    for presence, told in ((0.04, True), (0.4, False)):
        monkeypatch.setattr("querysep.pipeline.presence.probability", lambda calibration, features, p=presence: p)
        warnings = separator.separate(path, "label:Dog", not_=bell).report.warnings
        assert any("--not" in warning and "not there" in warning for warning in warnings) == told
    silent = separator.separate(np.zeros((1, RATE)), "label:Dog", sample_rate=RATE, not_=bell)
    assert silent.report.warnings == ["The mixture is silent, so the target is silent too."]
