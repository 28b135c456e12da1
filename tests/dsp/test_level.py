"""Silence is cut out, in any blocks; a quiet recording is brought up by a gain of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from querysep.dsp.level import QUIET, Silence, SoundSections, far_over_full_scale, quiet_gain, swing

HOLD = 20


def cut(wave: np.ndarray, places: list[int]) -> list[tuple[bool, int]]:
    """Which stretches are sound, and how long they are; neighbors of one kind are joined."""
    sections = SoundSections(wave.shape[0], HOLD)
    pieces = [piece for part in np.split(wave, sorted(places), axis=1) for piece in sections.push(part)]
    found: list[tuple[bool, int]] = []
    for piece in [*pieces, *sections.finish()]:
        sound, time = (False, piece.time) if isinstance(piece, Silence) else (True, piece.shape[1])
        if found and found[-1][0] == sound:
            time += found.pop()[1]
        found.append((sound, time))
    return found


@given(places=st.lists(st.integers(0, 340), max_size=8))
def test_sections_do_not_depend_on_blocks(places: list[int]) -> None:
    wave = np.zeros((2, 340), np.float32)
    wave[0, 50:100] = wave[1, 115:200] = wave[0, 221:240] = 0.1
    assert cut(wave, places) == [(False, 50), (True, 150), (False, 21), (True, 19), (False, 100)]


def test_only_quiet_recordings_are_brought_up() -> None:
    wave = np.sin(np.arange(1_000, dtype=np.float32))
    for gain in (1e-4, 1e-3, 1e-2):
        loudest = swing(wave * np.float32(gain) + np.float32(0.2))  # an offset is no level
        assert loudest * quiet_gain(loudest) == pytest.approx(QUIET)
    assert quiet_gain(0.1) == quiet_gain(0.0) == 1.0


def test_unscaled_integers_are_told() -> None:
    assert far_over_full_scale(4.0, "It") is None
    assert "divide them by 32768" in (far_over_full_scale(2e4, "It") or "")
