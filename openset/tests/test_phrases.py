import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from openset.phrases import ARTICULATIONS, Articulation, Style, make_phrase, perform


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
