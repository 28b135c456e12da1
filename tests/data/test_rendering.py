from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from querysep.data.decoding import SAMPLE_RATE, Samples
from querysep.data.manifest import read_manifest, write_manifest
from querysep.data.open_set_sources import HELD_OUT, RESERVED
from querysep.data.phrases import Note, Style, make_phrase, midi_file
from querysep.data.rendering import (
    RESERVED_DRUM_KEYS,
    RESERVED_PROGRAMS,
    SOURCE,
    fluidsynth,
    read_instruments,
    render_instruments,
)
from querysep.errors import DataError


@given(st.sampled_from(["melody", "chords", "beats", "kit"]), st.integers(0, 2**32), st.floats(1, 15))
def test_a_phrase_keeps_to_its_keys_and_its_length(style: Style, seed: int, length_s: float) -> None:
    keys = range(48, 72)
    notes = make_phrase(style, keys, length_s, np.random.default_rng(seed))
    assert notes == make_phrase(style, keys, length_s, np.random.default_rng(seed))
    assert notes
    for note in notes:
        assert note.key in keys
        assert 0 <= note.start_s < length_s
        assert note.duration_s > 0
        assert 1 <= note.velocity <= 127
    if style == "melody":
        starts = [note.start_s for note in notes]
        assert len(set(starts)) == len(starts)


def test_no_beat_falls_behind_the_end() -> None:
    for seed in range(500):  # a late beat at the very end is rare
        notes = make_phrase("kit", [36], 1.0, np.random.default_rng(seed))
        assert max(note.start_s for note in notes) < 1.0


def test_a_midi_file_is_what_it_should_be() -> None:
    notes = [Note(0.0, 0.5, 60, 100), Note(0.5, 1.0, 60, 80)]
    track = bytes.fromhex(
        "00 ff 51 03 0f 42 40"  # a second a beat
        "00 c0 28"  # violin
        "00 90 3c 64 83 74 80 3c 00"  # the first note ends ...
        "00 90 3c 50 87 68 80 3c 00"  # ... before the second begins
        "00 ff 2f 00"
    )
    header = bytes.fromhex("4d546864 00000006 0000 0001 03e8 4d54726b") + len(track).to_bytes(4, "big")
    assert midi_file(notes, 40, drums=False) == header + track
    assert bytes([0xC9, 25]) in midi_file(notes, 25, drums=True)


def test_no_reserved_instrument_is_played() -> None:
    for one in read_instruments():
        assert one.label not in RESERVED
        if one.style == "kit":
            assert not RESERVED_DRUM_KEYS & set(one.keys)
        else:
            assert one.preset not in RESERVED_PROGRAMS


def test_families_and_held_out_labels_are_not_split() -> None:
    splits = defaultdict(set)
    for one in read_instruments():
        splits[one.family].add(one.split)
        assert one.label not in HELD_OUT or one.split == "test"
    assert all(len(split) == 1 for split in splits.values())


def test_phrases_are_appended_to_a_set_once(tmp_path: Path) -> None:
    played = []

    def render(midi: bytes) -> Samples:
        played.append(midi)
        seed = np.frombuffer(midi[-64:], dtype=np.uint8)
        return np.random.default_rng(seed).normal(size=SAMPLE_RATE // 2).astype(np.float32)

    clips = render_instruments(tmp_path, cache=tmp_path, render=render)
    assert len(set(played)) == len(played) == len(clips)
    other = clips[0].model_copy(update={"path": "rain.flac", "source": "wesnoth-1.16-data"})
    write_manifest([other, *clips], tmp_path / "manifest.jsonl")
    assert render_instruments(tmp_path, cache=tmp_path, render=render) == clips
    assert len(played) == len(clips)
    assert read_manifest(tmp_path / "manifest.jsonl") == [other, *clips]
    for clip in clips:
        assert clip.source == SOURCE
        assert clip.held_out == (clip.labels[0] in HELD_OUT)
        assert clip.split == "test" or not clip.held_out
    peaks = [np.abs(soundfile.read(tmp_path / clip.path)[0]).max() for clip in clips[:40]]
    assert 0.2 < min(peaks) < max(peaks) < 0.95


def test_a_missing_synthesizer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="apt-get install fluidsynth"):
        fluidsynth(Path("a.sf2"))
