import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openset.clips import SAMPLE_RATE, Samples
from openset.instruments import Instrument, read_instruments
from openset.scores import (
    Excerpt,
    Part,
    Piece,
    ScoreNote,
    cast_parts,
    fitting_shift,
    mixing_gains,
    play_part,
    read_pieces,
    read_score,
    render_music,
    side_of,
    take_excerpt,
)
from querysep.data.formats.multitrack import MULTITRACK, read_multitracks, read_stems
from querysep.data.manifest import read_manifest
from querysep.errors import DataError

CHORALE = "bach/bwv66.6.mxl"


def _part(name: str, low: int, count: int = 60) -> Part:
    return Part(name, tuple(ScoreNote(float(place), 1.0, low + place % 5, 80) for place in range(count)))


def _chorale() -> list[Part]:
    return [_part("Soprano", 67), _part("Alto", 60), _part("Tenor", 55), _part("Bass", 43)]


def test_a_chorale_is_read_as_it_is_written(tmp_path: Path) -> None:
    parts = read_score(CHORALE, tmp_path)
    assert [part.name for part in parts] == ["Soprano", "Alto", "Tenor", "Bass"]
    opening = [(note.start, note.duration, note.key) for note in parts[0].notes[:4]]
    assert opening == [(0.0, 0.5, 73), (0.5, 0.5, 71), (1.0, 1.0, 69), (2.0, 1.0, 71)]  # C#5 B4 A4 B4
    assert all(part.notes[-1].start + part.notes[-1].duration == 36.0 for part in parts)
    kept = list((tmp_path / "scores").iterdir())
    assert len(kept) == 1
    assert read_score(CHORALE, tmp_path) == parts
    with pytest.raises(DataError, match=r"cannot read its score 'bach/none\.mxl'"):
        read_score("bach/none.mxl", tmp_path)


def test_what_music21_finds_odd_in_a_score_is_not_the_users_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from music21 import converter

    parse = converter.parse

    def warning(path: Path) -> object:
        warnings.warn("measure 96 is overfull", UserWarning, stacklevel=2)
        return parse(path)

    monkeypatch.setattr(converter, "parse", warning)
    assert len(read_score(CHORALE, tmp_path)) == 4  # a warning is an error in tests


def test_dynamics_ties_and_grace_notes_are_understood() -> None:
    from music21 import dynamics, note, stream, tie

    from openset.scores import _notes_of

    part = stream.Part()
    part.insert(0, dynamics.Dynamic("pp"))
    part.insert(0, note.Note("C4", quarterLength=1))
    part.insert(1, note.Note("D4").getGrace())
    part.insert(1, dynamics.Dynamic("ff"))
    part.insert(1, note.Rest(quarterLength=1))
    part.insert(2, note.Note("E4", quarterLength=2))
    for start, kind in ((4, "start"), (5, "stop")):
        tied = note.Note("F4", quarterLength=1)
        tied.tie = tie.Tie(kind)
        part.insert(start, tied)
    assert _notes_of(part) == [ScoreNote(0, 1, 60, 45), ScoreNote(2, 2, 64, 106), ScoreNote(4, 2, 65, 106)]


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_an_excerpt_holds_what_sounds_in_it(seed: int) -> None:
    silent = Part("Flute", tuple(ScoreNote(12.0 * place, 0.5, 80, 80) for place in range(5)))
    excerpt = take_excerpt([*_chorale(), silent], 4, np.random.default_rng(seed))
    assert excerpt is not None
    length = excerpt.duration_s / excerpt.quarter_s
    assert {part.name for part in excerpt.parts} == {"Soprano", "Alto", "Tenor", "Bass"}
    for part in excerpt.parts:
        for note in part.notes:
            assert 0 <= note.start < length
            assert note.start + note.duration <= length + 1e-9


def test_a_score_without_enough_parts_gives_no_excerpt() -> None:
    assert take_excerpt(_chorale()[:3], 4, np.random.default_rng(0)) is None
    assert take_excerpt([_part("Soprano", 67, count=8)] * 4, 4, np.random.default_rng(0)) is None


def test_a_part_is_moved_by_octaves_into_the_range() -> None:
    def voice(low: int, high: int) -> Instrument:
        return Instrument("Flute", "melody", "fluid", 0, 73, tuple(range(low, high + 1)), "flute", "train")

    part = _part("Bass", 43)
    assert fitting_shift(part, voice(40, 60)) == 0
    assert fitting_shift(part, voice(55, 70)) == 12
    assert fitting_shift(part, voice(66, 80)) == 24
    assert fitting_shift(part, voice(28, 40)) == -12
    assert fitting_shift(part, voice(49, 52)) is None
    played = play_part(part, 12, 0.5, np.random.default_rng(0))
    assert [note.key for note in played] == [55 + place % 5 for place in range(60)]
    assert all(abs(note.start_s - 0.5 * place) < 0.1 for place, note in enumerate(played))
    assert len({note.velocity for note in played}) > 10


@settings(max_examples=40)
@given(st.integers(0, 2**32))
def test_instruments_of_a_piece_are_of_different_classes(seed: int) -> None:
    excerpt = Excerpt(0.0, 0.5, 15.0, tuple(_chorale()))
    voices = [one for one in read_instruments() if one.split == "test"]
    seats = cast_parts(excerpt, voices, np.random.default_rng(seed))
    assert len(seats) == 4
    assert len({seat.instrument.label for seat in seats}) == 4
    for seat in seats:
        assert seat.instrument.split == "test"
        assert seat.notes
        assert all(note.key in seat.instrument.keys and 0 <= note.start_s < 30.1 for note in seat.notes)


def test_the_list_of_pieces_leaves_restricted_encodings_out() -> None:
    pieces = read_pieces()
    folders = {piece.path.split("/")[0] for piece in pieces}
    assert not folders & {"essenFolksong", "palestrina", "leadSheet", "demos", "trecento", "webern", "schoenberg"}
    assert all(piece.path.endswith((".mxl", ".xml", ".musicxml")) for piece in pieces)  # .krn: rights reserved
    assert len({piece.path for piece in pieces}) == len(pieces)
    assert side_of("mozart/k80/movement1.mxl") == side_of("mozart/k80/movement4.mxl")
    tested = sum(piece.excerpts for piece in pieces if side_of(piece.path) == "test")
    assert 0.3 < tested / sum(piece.excerpts for piece in pieces) < 0.7


def test_gains_set_levels_beside_each_other_and_keep_the_sum_below_clipping() -> None:
    rng = np.random.default_rng(0)
    sounds = [rng.normal(size=8_000).astype(np.float32) * level for level in (0.1, 0.01)]
    loud, soft = mixing_gains(sounds, [6.0, 0.0])
    level_db = 20 * np.log10(loud * sounds[0].std() / (soft * sounds[1].std()))
    assert abs(level_db - 6) < 0.01
    assert np.abs(loud * sounds[0] + soft * sounds[1]).max() == pytest.approx(0.9, abs=1e-3)


def test_rendered_music_is_the_sum_of_its_stems(tmp_path: Path) -> None:
    played = []

    def render(midi: bytes, soundfont: Path) -> Samples:
        played.append(midi)
        rng = np.random.default_rng(np.frombuffer(midi[-64:], dtype=np.uint8))
        return rng.normal(size=30 * SAMPLE_RATE).astype(np.float32)

    pieces = [Piece(CHORALE, 2, "none stated"), Piece("bach/bwv269.mxl", 1, "none stated")]
    found = render_music(tmp_path, cache=tmp_path, pieces=pieces, render=render)
    assert len(found) == 3
    assert read_multitracks(tmp_path / MULTITRACK) == found
    clips = {clip.path: clip for clip in read_manifest(tmp_path / "manifest.jsonl")}
    assert len(clips) == sum(len(piece.stems) for piece in found) == len(played)
    for piece in found:
        assert piece.split == side_of(piece.piece)
        assert 12 <= piece.duration_s <= 18.5
        assert len({stem.label for stem in piece.stems}) == len(piece.stems) >= 3
        stems = read_stems(piece, tmp_path)
        assert np.abs(np.sum(stems, axis=0)).max() == pytest.approx(0.9, abs=0.01)
        for stem, sound in zip(piece.stems, stems, strict=True):
            assert sound.size == round(piece.duration_s * SAMPLE_RATE)
            assert clips[stem.path].labels[0] == stem.label
            assert clips[stem.path].split == piece.split
    manifest = (tmp_path / "manifest.jsonl").read_bytes()
    count = len(played)
    assert render_music(tmp_path, cache=tmp_path, pieces=pieces, render=render) == found
    assert len(played) == count
    assert (tmp_path / "manifest.jsonl").read_bytes() == manifest
