"""The query grammar, in one place."""

from pathlib import Path

import numpy as np
import pytest
import torch

from querysep.errors import AudioError, QueryError
from querysep.queries.query import Query
from querysep.types import Audio


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("dog.wav", "audio"),
        ("some folder/dog:1.wav", "audio"),
        (r"C:\sounds\dog.wav", "audio"),
        ("label:Dog", "label"),
        ("text:a dog barking: far away", "text"),
        ("bank:my-dog", "bank"),
        ("span:3.2-4.7", "span"),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    query = Query.parse(text)
    assert (query.kind, query.text) == (kind, text)
    assert query.paths == ((Path(text),) if kind == "audio" else ())
    assert query.span_s == ((3.2, 4.7) if kind == "span" else None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("span:", "lacks"),
        ("span:abc", "not a span.*span:3.2-4.7"),
        ("span:4-3", "end after its start"),
        ("span:3-3", "end after its start"),
        ("span:-1-3", "not a span"),
        ("lable:Dog", "Did you mean 'label:'"),
        ("http://x/y.wav", "neither a file nor"),
    ],
)
def test_what_cannot_be_understood(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        Query.parse(text)
    assert "\n" not in str(caught.value)


def test_a_file_that_looks_like_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("take:2.wav").touch()
    assert Query.parse("take:2.wav").kind == "audio"
    assert Query.parse("./label:x").kind == "audio"


def test_whatever_a_caller_gives() -> None:
    sound = Audio.of(np.zeros(100), 8_000)
    assert Query.of(sound).sounds == (sound,)
    assert Query.of(Path("a.wav")).paths == (Path("a.wav"),)
    assert Query.of("span:1-2") == Query.parse("span:1-2")
    assert Query.of(Query.span(1, 2)).span_s == (1.0, 2.0)
    assert Query.of(torch.zeros(2, 50), 8_000).sounds[0].samples.shape == (2, 50)
    with pytest.raises(QueryError, match="needs its rate"):
        Query.of(np.zeros(100))
    with pytest.raises(QueryError, match="got int"):
        Query.of(7)
    with pytest.raises(AudioError, match="NaN"):
        Query.of(np.full(100, np.nan), 8_000)
    with pytest.raises(QueryError, match="at least one"):
        Query.audio()
    with pytest.raises(QueryError, match="end after"):
        Query.span(2, float("inf"))


@pytest.mark.parametrize(
    ("query", "name"),
    [
        (Query.parse("some where/Dog bark (1).wav"), "Dog-bark-1"),
        (Query.parse("span:3.2-4.7"), "span-3.2-4.7"),
        (Query.words("a/b\\c:d?"), "text-a-b-c-d"),
        (Query.audio(Path("..")), "audio"),
        (Query.audio(Path("x" * 300 + ".wav")), "x" * 60),
    ],
)
def test_names_are_safe_in_file_names(query: Query, name: str) -> None:
    assert query.name == name
