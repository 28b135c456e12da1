"""Free words: what they mean, what is told of it, and what is refused; with an encoder that a package registers."""

import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from querysep.errors import ConfigError, DataError, QueryError, WeightsError
from querysep.io.label_bank import BankRow, LabelBank
from querysep.io.text_map import TEXT_NAME, TextMap, read_text_map
from querysep.queries.query import Query
from querysep.queries.resolve import resolve
from querysep.queries.text import class_scores, class_weights, understand
from querysep.queries.text_encoder import GROUP, MiniLm, load_text_encoder
from querysep.queries.text_training import Phrase, bundled_phrases, parse_phrases, train_text_map

TOY = """
import zlib
import numpy as np
class BagOfWords:
    def encode(self, texts):
        rows = np.zeros((len(texts), 4096), np.float32)
        for row, text in zip(rows, texts):
            for word in text.lower().split():
                row[zlib.crc32(word.encode()) % 4096] += 1
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
class Mute:
    pass
"""
PHRASES = [
    Phrase("Dog", "a barking hound"),
    Phrase("Dog", "woof goes the puppy"),
    Phrase("Rain", "drops on the roof"),
    Phrase("Rain", "a heavy shower"),
    Phrase("Bell", "ringing bronze in the tower"),
    Phrase("Cat", "meowing kitten"),
]


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package that registers encoders."""
    site = tmp_path / "site"
    (site / "toy-1.0.dist-info").mkdir(parents=True)
    (site / "toy_encoder.py").write_text(TOY)
    (site / "toy-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (site / "toy-1.0.dist-info" / "entry_points.txt").write_text(
        f"[{GROUP}]\ntoy = toy_encoder:BagOfWords\nmute = toy_encoder:Mute\nlost = toy_encoder:Nothing\n"
    )
    monkeypatch.syspath_prepend(str(site))
    load_text_encoder.cache_clear()


@pytest.fixture
def bank() -> LabelBank:
    labels = {"Dog": ("Animal",), "Rain": ("Water",), "Bell": (), "Speech": ()}
    rows = tuple(BankRow(label=label, examples=5, ancestors=above) for label, above in labels.items())
    return LabelBank(rows, torch.eye(4, 6) + 0.5, torch.eye(4))


@pytest.fixture
def text_map(bank: LabelBank) -> TextMap:
    return train_text_map(bank, PHRASES, "toy").text_map


def names(bank: LabelBank, words: str, text_map: TextMap | None) -> list[str]:
    return [bank.rows[row].label for row, _ in understand(words, bank, text_map).classes]


@pytest.mark.parametrize(
    ("words", "label"),
    [
        ("the barking of a hound", "Dog"),
        ("shower of heavy drops", "Rain"),
        ("bronze in the tower", "Bell"),
        ("somebody is talking", "Speech"),  # by its everyday words
    ],
)
def test_words_mean_the_class_whose_phrases_are_near(
    bank: LabelBank, text_map: TextMap, words: str, label: str
) -> None:
    meaning = understand(words, bank, text_map)
    assert bank.rows[meaning.classes[0][0]].label == label
    weights = [weight for _, weight in meaning.classes]
    assert sum(weights) == pytest.approx(1.0) and weights == sorted(weights, reverse=True)
    assert meaning.warnings == ()


def test_a_name_means_what_its_label_means(bank: LabelBank, text_map: TextMap) -> None:
    ear: Any = _ear()
    for words in ("Dog", " the dogs", "animal", "rainfall"):
        by_text, by_label = (
            resolve([query], ear, bank, text_map=text_map)[0] for query in (Query.words(words), Query.label(words))
        )
        assert torch.equal(by_text.vectors, by_label.vectors)
        assert by_text.warnings == ()
    assert names(bank, "dog", None) == ["Dog"]  # without words, names are still known


def _ear() -> Any:
    from querysep.queries.examples import Ear

    return Ear(None, torch.device("cpu"))  # type: ignore[arg-type]  # nothing is heard here


def test_a_condition_is_the_weighted_mean_of_the_classes(bank: LabelBank, text_map: TextMap) -> None:
    words = "a shower of barking drops"
    meaning = understand(words, bank, text_map)
    (condition,) = resolve([Query.words(words)], _ear(), bank, text_map=text_map)
    by_hand = sum(weight * bank.conditions[row] for row, weight in meaning.classes)
    torch.testing.assert_close(condition.vectors[0], by_hand)
    assert [(one.name, one.weight) for one in condition.examples] == [
        (bank.rows[row].label, weight) for row, weight in meaning.classes
    ]
    assert len({round(weight, 6) for _, weight in meaning.classes}) > 1


def test_words_far_from_everything_or_near_what_is_missing_are_told(bank: LabelBank, text_map: TextMap) -> None:
    text_map = replace(text_map, facts=text_map.facts.model_copy(update={"far": 0.3}))
    (far,) = understand("zyxwv qponm", bank, text_map).warnings
    assert "far from everything" in far and re.search("'(Dog|Rain|Bell|Speech)'", far)
    (missing,) = understand("a meowing kitten", bank, text_map).warnings
    assert "sounds like 'Cat', which this model has no examples of" in missing


def test_scores_are_soft_maxima_and_weights_a_softmax_of_five() -> None:
    cosines = torch.tensor([[0.9, 0.1, 0.5, 0.5]])  # the phrases are axes, so a vector holds its cosines
    owners = torch.tensor([0, 0, 1, 2])
    scores = class_scores(cosines, torch.eye(4), owners, 2, 0.1)
    assert scores[0, 0] == pytest.approx(0.1 * np.log((np.exp(9) + np.exp(1)) / 2), abs=1e-5)
    assert scores[0, 1] == pytest.approx(0.5)
    weights = class_weights(torch.arange(8.0)[None], 2.0)[0]
    assert (weights > 0).sum() == 5 and float(weights.sum()) == pytest.approx(1.0)
    assert float(weights[7] / weights[6]) == pytest.approx(np.exp(0.5))


def test_training_is_the_same_each_time_and_comes_back_as_written(bank: LabelBank, tmp_path: Path) -> None:
    one, two = (train_text_map(bank, PHRASES, "toy") for _ in range(2))
    assert one.text_map.to_bytes() == two.text_map.to_bytes()
    assert 0 < one.top_1 <= one.top_5 <= 1
    (tmp_path / TEXT_NAME).write_bytes(one.text_map.to_bytes())
    again = read_text_map(tmp_path)
    assert again is not None and again.facts == one.text_map.facts
    torch.testing.assert_close(again.phrases, one.text_map.phrases, atol=1e-3, rtol=0)
    assert names(bank, "heavy drops", again) == names(bank, "heavy drops", one.text_map)
    assert read_text_map(tmp_path / "elsewhere") is None
    (tmp_path / TEXT_NAME).write_bytes(one.text_map.to_bytes()[:-20])
    with pytest.raises(WeightsError, match="damaged"):
        read_text_map(tmp_path)
    with pytest.raises(DataError, match="at least two classes"):
        train_text_map(LabelBank(bank.rows[:1], bank.conditions[:1], bank.profiles[:1]), PHRASES, "toy")


def test_text_of_another_bank_or_encoder_is_refused(bank: LabelBank, text_map: TextMap) -> None:
    other = LabelBank(bank.rows, bank.conditions + 1e-3, bank.profiles)
    with pytest.raises(WeightsError, match=r"another label bank.*labels --text"):
        understand("heavy drops", other, text_map)
    with pytest.raises(WeightsError, match="another version of the encoder 'toy'"):
        understand("heavy drops", bank, replace(text_map, probe=text_map.probe.roll(1)))
    with pytest.raises(QueryError, match="names of its classes only"):
        understand("heavy drops", bank, None)
    with pytest.raises(QueryError, match="no label bank"):
        understand("heavy drops", None, None)


def test_encoders_by_name() -> None:
    assert load_text_encoder("toy").encode(["a b", "b a"]).shape == (2, 4096)
    for name, message in [
        ("none", "no text encoder 'none'. There are: minilm, lost, mute, toy"),
        ("lost", "cannot be loaded"),
        ("mute", "no method encode"),
    ]:
        with pytest.raises(ConfigError, match=message):
            load_text_encoder(name)


def test_without_the_extra_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"pip install 'querysep\[text\]'"):
        load_text_encoder()


def test_minilm_needs_no_network_and_knows_what_is_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    encoder = MiniLm()
    texts = ["a dog barks", "a hound is barking loudly", "trumpet fanfare", "rain on the roof"]
    vectors = encoder.encode(texts)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.7 and cosines[0, 2:].max() < 0.4
    np.testing.assert_array_equal(encoder.encode(texts[2:3]), vectors[2:3])


def test_phrases_are_written_one_class_a_line() -> None:
    assert parse_phrases("# remark\n\nDog: a | b c\n") == [Phrase("Dog", "a"), Phrase("Dog", "b c")]
    with pytest.raises(DataError, match="form"):
        parse_phrases("Dog")


def test_no_phrase_that_measures_is_one_that_trains() -> None:
    def spelt(phrases: Sequence[Phrase]) -> set[str]:
        return {
            re.sub(r"\W+", " ", phrase.words.casefold()).removeprefix("a ").removeprefix("the ") for phrase in phrases
        }

    path = Path(__file__).parents[2] / "recipes" / "text" / "test_phrases.txt"
    measured = parse_phrases(path.read_text(encoding="utf-8"))
    assert len(measured) >= 200
    assert not spelt(measured) & spelt(bundled_phrases())
