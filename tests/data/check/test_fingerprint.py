"""Copies of a recording are found in any form; different recordings are kept apart."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from querysep.data.check.fingerprint import Fingerprint, Match, find_matches, fingerprint, groups

RATE = 32_000


def sound(seed: int, seconds: float = 3.0) -> NDArray[np.float32]:
    """Noise whose spectrum wanders: a recording unlike any other."""
    random = np.random.default_rng(seed)
    notes = random.uniform(150, 3_400, round(8 * seconds)).repeat(RATE // 8)
    noise = 0.05 * random.standard_normal(notes.size)
    return (0.2 * np.sin(2 * np.pi * np.cumsum(notes) / RATE) + noise).astype(np.float32)


def as_int16(wave: NDArray[np.floating]) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(wave * 32_768), -32_768, 32_767), np.int16)


def coded(wave: NDArray[np.float32], file_format: str, subtype: str) -> NDArray[np.float32]:
    memory = io.BytesIO()
    soundfile.write(memory, wave, RATE, format=file_format, subtype=subtype)
    memory.seek(0)
    samples: NDArray[np.float32] = soundfile.read(memory, dtype="float32")[0]
    return samples


COPIES: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "the same": lambda wave: wave,
    "softer": lambda wave: np.float32(0.05) * wave,
    "MP3": lambda wave: coded(wave, "MP3", "MPEG_LAYER_III"),
    "Vorbis": lambda wave: coded(wave, "OGG", "VORBIS"),
    "8 kHz": lambda wave: soxr.resample(soxr.resample(wave, RATE, 8_000), 8_000, RATE),
    "half a frame later": lambda wave: np.concatenate((np.zeros(256, np.float32), wave)),
    "cut": lambda wave: wave[RATE // 4 : -RATE // 4],
    "upside down": lambda wave: -wave,
}


@pytest.mark.parametrize("how", COPIES)
def test_a_copy_is_found_among_others(how: str) -> None:
    prints = [fingerprint(as_int16(sound(seed)), RATE) for seed in range(12)]
    prints.append(fingerprint(as_int16(COPIES[how](sound(4))), RATE))
    matches = find_matches(prints)
    assert [(match.first, match.second) for match in matches] == [(4, 12)]
    assert matches[0].error < 0.15
    expected_lag_s = {"half a frame later": 0.008, "cut": -0.25}.get(how, 0.0)
    assert matches[0].lag_s == pytest.approx(expected_lag_s, abs=0.0161)


def test_the_rate_it_is_read_at_does_not_matter() -> None:
    wave = sound(1)
    other = fingerprint(as_int16(soxr.resample(wave, RATE, 44_100)), 44_100)
    assert len(find_matches([fingerprint(as_int16(wave), RATE), other])) == 1


def test_different_recordings_of_a_kind_are_kept_apart() -> None:
    random = np.random.default_rng(0)
    noises = [fingerprint(as_int16(0.1 * random.standard_normal(RATE)), RATE) for _ in range(30)]
    shared = sound(0, 1.0)
    halves = [fingerprint(as_int16(np.concatenate((shared, sound(seed, 2.0)))), RATE) for seed in (1, 2)]
    assert find_matches(noises) == []
    joined = [np.concatenate((shared, sound(3, 2.0))), np.concatenate((sound(4, 2.0), shared))]
    assert find_matches(halves) == []
    assert find_matches([fingerprint(as_int16(wave), RATE) for wave in joined]) == []


def test_a_clip_that_repeats_itself_is_no_copy_of_itself() -> None:
    assert find_matches([fingerprint(as_int16(np.tile(sound(0, 1.0)[: 32 * 512], 8)), RATE)]) == []


def test_short_clips_and_nothing_at_all() -> None:
    click = as_int16(sound(3, 0.5))
    tiny = fingerprint(click[:500], RATE)
    nothing = fingerprint(click[:0], RATE)
    silence = fingerprint(np.zeros(RATE, np.int16), RATE)
    assert find_matches([tiny, tiny, nothing, nothing, silence, silence]) == []
    assert find_matches([]) == []
    assert len(find_matches([fingerprint(click, RATE), fingerprint(click, RATE)])) == 1


def test_short_copies_are_found_in_either_order() -> None:
    """They share few words, and as many at a wrong shift as at the right one."""
    words = np.random.default_rng(0).integers(0, 2**32, 18, dtype=np.uint32)
    copied = words ^ np.uint32(1)
    copied[0], copied[10] = words[0], words[3]
    one, other = (Fingerprint(some, np.ones(18, np.bool_)) for some in (words, copied))
    for prints in ([one, other], [other, one]):
        assert [(match.first, match.second, match.lag_s) for match in find_matches(prints)] == [(0, 1, 0.0)]


def test_many_copies_make_one_group_without_all_pairs() -> None:
    prints = [fingerprint(as_int16(sound(5)), RATE)] * 120 + [fingerprint(as_int16(sound(6)), RATE)]
    matches = find_matches(prints)
    assert groups(matches) == [list(range(120))]
    assert len(matches) < 120 * 119 / 2


def test_groups_join_chains() -> None:
    chain = [Match(3, 7, 0.0, 0.0), Match(1, 2, 0.0, 0.0), Match(2, 3, 0.0, 0.0), Match(8, 9, 0.0, 0.0)]
    assert groups(chain) == [[1, 2, 3, 7], [8, 9]]
