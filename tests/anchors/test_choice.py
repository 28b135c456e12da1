"""Anchors lie where the class is most present."""

import numpy as np
import pytest
from published import expected, given

from querysep.anchors.choice import most_present, published_choice
from querysep.detection.windows import PresenceMap

RATE = 32_000


def test_published_choice_agrees_on_edge_cases() -> None:
    for track, wanted in zip(given("anchor_synth_framewise"), expected("anchor_synth_index_bgn_end"), strict=True):
        stretch = published_choice(track.astype(np.float64), 320_000)
        assert [stretch.first, stretch.end] == list(wanted[1:])


def _map(track: list[float], duration_s: float) -> PresenceMap:
    framewise = np.array([track, [0.0] * len(track)], dtype=np.float32)
    return PresenceMap(framewise, 0.5, duration_s, framewise.max(axis=1))


def test_anchor_covers_the_event() -> None:
    track = [0.0] * 8 + [1.0] * 4 + [0.0] * 8
    (stretch,) = most_present(_map(track, 10.0), 0, RATE, 2.0, 10.0)
    assert (stretch.first, stretch.end) == (4 * RATE, 6 * RATE)
    assert stretch.score == pytest.approx(1.0, abs=1e-6)


def test_short_clip_is_one_anchor_of_its_own_length() -> None:
    (stretch,) = most_present(_map([0.5, 0.5], 0.7), 0, RATE, 2.0, 10.0)
    assert (stretch.first, stretch.end) == (0, round(0.7 * RATE))


def test_long_clip_has_one_anchor_in_each_part_and_all_lie_inside() -> None:
    rng = np.random.default_rng(0)
    stretches = most_present(_map(list(rng.random(63)), 31.3), 0, RATE, 2.0, 10.0)
    assert len(stretches) == 3
    for part, stretch in enumerate(stretches):
        assert part * 10 * RATE <= stretch.first
        assert stretch.end - stretch.first == 2 * RATE
        assert stretch.end <= 31.3 * RATE
