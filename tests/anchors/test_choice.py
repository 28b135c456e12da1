"""Anchors lie where the class is most present."""

import numpy as np
import pytest
from published import expected, given

from querysep.anchors.choice import MiningSettings, Stretch, most_present, published_choice, purity, strongest
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


def test_strongest_takes_the_best_that_do_not_overlap() -> None:
    track = [0.0] * 20
    track[2:6], track[10:14], track[8] = [0.9] * 4, [1.0] * 4, 0.5
    found = strongest(_map(track, 10.0), 0, RATE, 2.0, 2)
    assert [(stretch.first, stretch.end) for stretch in found] == [(1 * RATE, 3 * RATE), (5 * RATE, 7 * RATE)]
    assert [stretch.score for stretch in found] == pytest.approx([0.9, 1.0], abs=1e-6)
    assert len(strongest(_map(track, 10.0), 0, RATE, 2.0, 9)) < 9
    assert strongest(_map([0.5, 0.5], 0.7), 0, RATE, 2.0, 3) == [Stretch(0, round(0.7 * RATE), 0.5)]


def test_purity_is_the_chance_that_no_unrelated_class_is_there() -> None:
    framewise = np.array([[1.0, 1.0], [0.5, 0.0], [0.2, 0.2], [0.9, 0.9]], dtype=np.float32)
    presence = PresenceMap(framewise, 0.5, 1.0, framewise.max(axis=1))
    unrelated = np.array([False, True, True, False])
    assert purity(presence, Stretch(0, RATE, 1.0), RATE, unrelated) == pytest.approx(0.75 * 0.8)
    assert purity(presence, Stretch(RATE // 2, RATE, 1.0), RATE, unrelated) == pytest.approx(0.8)
    assert purity(presence, Stretch(RATE // 4, RATE, 1.0), RATE, unrelated) == pytest.approx((1 - 0.5 / 3) * 0.8)
    assert purity(presence, Stretch(0, RATE, 1.0), RATE, np.zeros(4, dtype=bool)) == 1.0


def test_settings_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter than an anchor"):
        MiningSettings(stretch_s=1.0)
    with pytest.raises(ValueError, match="one anchor"):
        MiningSettings(choice="published", per_clip=2)
