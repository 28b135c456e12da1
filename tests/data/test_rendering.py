from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from querysep.data.decoding import SAMPLE_RATE, Samples
from querysep.data.instruments import RESERVED_DRUM_KEYS, RESERVED_PROGRAMS, SOURCES, playable, read_instruments
from querysep.data.manifest import Clip, is_rendered, read_manifest, write_manifest
from querysep.data.open_set_sources import HELD_OUT, RESERVED
from querysep.data.phrases import ARTICULATIONS, Articulation, Style, make_phrase, perform
from querysep.data.rendering import PHRASES, phrases_to_play, render_instruments
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


@given(
    st.sampled_from(ARTICULATIONS),
    st.sampled_from(["melody", "chords", "beats", "kit"]),
    st.integers(0, 2**32),
    st.floats(1, 15),
)
def test_every_way_of_playing_keeps_to_the_keys(
    articulation: Articulation, style: Style, seed: int, length_s: float
) -> None:
    keys = [40, 41, 43, 44] if style in ("beats", "kit") else range(48, 72)
    played = perform(articulation, style, keys, length_s, np.random.default_rng(seed))
    assert played == perform(articulation, style, keys, length_s, np.random.default_rng(seed))
    assert played.notes
    for note in played.notes:
        assert note.key in keys
        assert 0 <= note.start_s < length_s
        assert note.duration_s > 0
        assert 1 <= note.velocity <= 127
    assert bool(played.turns) == (articulation == "swells" and style in ("melody", "chords"))
    assert all(0 <= turn.value <= 127 for turn in played.turns)


def test_staccato_is_short_and_single_notes_leave_silence() -> None:
    def silent_share(articulation: Articulation) -> float:
        shares = []
        for seed in range(40):
            notes = perform(articulation, "melody", range(48, 72), 12.0, np.random.default_rng(seed)).notes
            shares.append(1 - sum(note.duration_s for note in notes) / (notes[-1].start_s + notes[-1].duration_s))
        return float(np.mean(shares))

    assert silent_share("staccato") > 0.5
    assert 0.1 < silent_share("single notes") < 0.4
    assert silent_share("legato") < 0.1


def test_no_reserved_instrument_is_played() -> None:
    for one in read_instruments():
        assert one.label not in RESERVED
        if one.bank == 128:
            assert not RESERVED_DRUM_KEYS & set(one.keys)
        elif one.font in ("fluid", "musescore") and one.bank != 128:
            assert one.preset not in RESERVED_PROGRAMS
        assert (one.style == "kit") == (one.bank == 128)


def test_drums_of_kits_that_lie_elsewhere_are_left_out() -> None:
    instruments = read_instruments()
    snare = Clip(
        path="a.flac",
        labels=("Snare drum",),
        duration_s=1,
        licence="GPL-2",
        source="hydrogen-drumkits",
        origin="hydrogen-drumkits:The Black Pearl 1.0#x",
        split="train",
    )
    assert playable(instruments, [snare]) == instruments
    left = playable(instruments, [snare.model_copy(update={"split": "validation"})])
    gone = [one for one in instruments if one not in left]
    assert {(one.font, one.label) for one in gone} == {("black-pearl", "Snare drum"), ("red-zeppelin", "Snare drum")}
    assert playable(instruments, [snare.model_copy(update={"split": "test", "origin": "b"})]) == instruments


def test_families_and_voices_take_turns() -> None:
    tasks = phrases_to_play(read_instruments())
    counts = Counter((one.label, one.split) for one, _ in tasks)
    assert set(counts.values()) == {PHRASES["train"], PHRASES["test"]}
    assert len({label for label, _ in counts}) == 47
    played = Counter(one for one, _ in tasks)
    guitars = [one for one in played if one.label == "Acoustic guitar" and one.split == "train"]
    assert set(guitars) == {
        one for one in read_instruments() if one.label == "Acoustic guitar" and one.split == "train"
    }
    by_family = Counter(
        {
            family: sum(played[one] for one in guitars if one.family == family)
            for family in {one.family for one in guitars}
        }
    )
    assert len(by_family) == 2
    assert max(by_family.values()) - min(by_family.values()) <= 1
    assert len({(one, number) for one, number in tasks}) == len(tasks)


def test_families_and_held_out_labels_are_not_split() -> None:
    splits = defaultdict(set)
    for one in read_instruments():
        splits[one.family].add(one.split)
        assert one.label not in HELD_OUT or one.split == "test"
    assert all(len(split) == 1 for split in splits.values())


def test_phrases_are_appended_to_a_set_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("querysep.data.rendering.PHRASES", {"train": 2, "test": 1})
    played = []

    def render(midi: bytes, soundfont: Path) -> Samples:
        played.append(midi)
        seed = np.frombuffer(midi[-64:], dtype=np.uint8)
        return np.random.default_rng(seed).normal(size=SAMPLE_RATE // 4).astype(np.float32)

    clips = render_instruments(tmp_path, cache=tmp_path, render=render)
    assert len(set(played)) == len(played) == len(clips)
    other = clips[0].model_copy(update={"path": "rain.flac", "source": "wesnoth-1.16-data"})
    stem = clips[0].model_copy(update={"path": "music/train/a/1-piano.flac"})
    old = clips[0].model_copy(update={"path": "audio/train/piano/fluid-old.flac"})
    (tmp_path / old.path).write_bytes(b"")
    write_manifest([other, old, *clips, stem], tmp_path / "manifest.jsonl")
    assert render_instruments(tmp_path, cache=tmp_path, render=render) == clips
    assert len(played) == len(clips)
    assert read_manifest(tmp_path / "manifest.jsonl") == [other, stem, *clips]
    assert not (tmp_path / old.path).exists()
    for clip in clips:
        assert is_rendered(clip)
        assert clip.held_out == (clip.labels[0] in HELD_OUT)
        assert clip.split == "test" or not clip.held_out
    assert {clip.licence for clip in clips} == {source.licence for source in SOURCES.values()}
    assert all(source.package in (tmp_path / "ATTRIBUTION_rendered.md").read_text() for source in SOURCES.values())
    peaks = [np.abs(soundfile.read(tmp_path / clip.path)[0]).max() for clip in clips[:40]]
    assert 0.2 < min(peaks) < max(peaks) < 0.95


def test_a_silent_voice_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="plays nothing for 'Piano', 'fluid-piano-p200-0-0'"):
        render_instruments(tmp_path, cache=tmp_path, render=lambda midi, font: np.zeros(9_000, dtype=np.float32))
