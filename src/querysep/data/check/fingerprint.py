"""Acoustic fingerprints: the same recording found again at another level, rate or format, or a little cut.

Every 16 ms gives 32 bits: whether the energy difference of two neighbouring bands rises or falls (the idea of
Haitsma and Kalker, ISMIR 2002). Level changes none of them; formats, rates and small shifts change few. Words that
occur in two clips at one distance in time make a pair of candidates, so no clip is compared with all others.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

RATE = 8_000
HOP = 128
MAX_ERROR = 0.2
_WINDOW = 2_048
_BANDS = 33
_LOW_HZ, _HIGH_HZ = 150.0, 3_500.0
_FLOOR_DB = -45.0
_LONGEST_S = 60.0
_SHORTEST = 12  # frames that must agree, 0.2 s
_SHORT, _SHORT_ERROR = 60, 0.17  # below a second chance agrees more often
_LEAST_SHARE = 0.7
_MOST_LAGS = 24
_FULL_INDEX = 64


@dataclass(frozen=True)
class Fingerprint:
    """The fingerprint of a clip.

    Attributes:
        words: 32 bits for each frame of 16 ms, shape (frame,).
        sounding: whether a frame is loud enough to count, shape (frame,).
    """

    words: NDArray[np.uint32]
    sounding: NDArray[np.bool_]


@dataclass(frozen=True)
class Match:
    """Two clips that hold the same recording.

    Attributes:
        first: index of a clip.
        second: index of another, larger.
        lag_s: how much later the common part begins in the second, seconds.
        error: share of bits that differ in it, 0..MAX_ERROR.
    """

    first: int
    second: int
    lag_s: float
    error: float


def fingerprint(samples: NDArray[np.int16], sample_rate: int) -> Fingerprint:
    """Take a clip's fingerprint.

    Args:
        samples: shape (time,), of any length; only the first minute counts.
        sample_rate: Hz, 8,000 or more.
    """
    wave = samples[: int(_LONGEST_S * sample_rate)].astype(np.float32)
    if sample_rate != RATE and wave.size:
        wave = soxr.resample(wave, sample_rate, RATE, quality="MQ")
    padded = np.pad(wave, (_WINDOW // 2, _WINDOW // 2 + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP]
    if wave.size == 0 or frames.shape[0] < 2:
        return Fingerprint(np.zeros(0, np.uint32), np.zeros(0, np.bool_))
    power = np.concatenate([_band_power(part) for part in np.array_split(frames, -(-frames.shape[0] // 512))])
    differences = power[:, :-1] - power[:, 1:]
    rises = differences[1:] > differences[:-1]
    words = np.packbits(rises, axis=1).view(np.uint32)[:, 0]
    level = power[1:].sum(axis=1)
    return Fingerprint(words, level > max(level.max() * 10 ** (_FLOOR_DB / 10), 1e-3))


def find_matches(prints: Sequence[Fingerprint]) -> list[Match]:
    """Find the pairs of clips that hold the same recording.

    Of a recording that is there many times not every pair is given, but enough to join them all.

    Args:
        prints: of all clips.

    Returns:
        Each pair at most once, the closest first.
    """
    matches = []
    for first, second, lag in _candidates(prints):
        error = _error(prints[first], prints[second], lag)
        if error is not None:
            matches.append(Match(first, second, lag * HOP / RATE, error))
    return sorted(matches, key=lambda match: match.error)


def groups(matches: Iterable[Match]) -> list[list[int]]:
    """Join pairs to groups of clips; every group is sorted, and the groups by their first clip."""
    parent: dict[int, int] = {}

    def top(index: int) -> int:
        while parent.setdefault(index, index) != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for match in matches:
        low, high = sorted((top(match.first), top(match.second)))
        parent[high] = low
    joined: dict[int, list[int]] = {}
    for index in sorted(parent):
        joined.setdefault(top(index), []).append(index)
    return list(joined.values())


def _band_power(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    spectrum = np.fft.rfft(frames * _hann(), axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    return np.add.reduceat(power, _edges(), axis=1)[:, :-1].astype(np.float32)


def _hann() -> NDArray[np.float32]:
    return np.hanning(_WINDOW).astype(np.float32)


def _edges() -> NDArray[np.int64]:
    edges_hz = np.geomspace(_LOW_HZ, _HIGH_HZ, _BANDS + 1)
    return np.rint(edges_hz * _WINDOW / RATE).astype(np.int64)


def _candidates(prints: Sequence[Fingerprint]) -> list[tuple[int, int, int]]:
    """Return (clip, clip, lag in frames) that share words; the lag with most of them for each pair."""
    clips, frames, words = _indexed(prints)
    order = np.argsort(words, kind="stable")
    clips, frames, words = clips[order], frames[order], words[order]
    keys, lags = [], []
    for step in range(1, _MOST_LAGS + 1):
        same = (words[step:] == words[:-step]) & (clips[step:] != clips[:-step])
        left, right = np.flatnonzero(same), np.flatnonzero(same) + step
        keys.append(clips[left] * len(prints) + clips[right])  # a stable sort keeps the lower clip on the left
        lags.append(frames[right] - frames[left])
    if not sum(key.size for key in keys):
        return []
    pairs = np.stack([np.concatenate(keys), np.concatenate(lags)], axis=1)
    unique, votes = np.unique(pairs, axis=0, return_counts=True)
    lengths = np.array([one.words.size for one in prints])
    shorter = np.minimum(lengths[unique[:, 0] // len(prints)], lengths[unique[:, 0] % len(prints)])
    kept = (votes > 1) | (shorter < _FULL_INDEX)
    unique, votes = unique[kept], votes[kept]
    best = np.lexsort((np.abs(unique[:, 1]), -votes, unique[:, 0]))  # of as many votes the smaller shift
    _, first = np.unique(unique[best, 0], return_index=True)
    chosen = unique[best[first]]
    return [(int(key // len(prints)), int(key % len(prints)), int(lag)) for key, lag in chosen]


def _indexed(prints: Sequence[Fingerprint]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32]]:
    """Return clip, frame and word of what goes into the index.

    All words of a short clip; of a long one those that a hash picks, so that two copies pick the same.
    """
    clips, frames, words = [], [], []
    for index, one in enumerate(prints):
        new = np.ones(one.words.size, np.bool_)
        new[1:] = one.words[1:] != one.words[:-1]
        picked = np.flatnonzero(one.sounding & new)
        if picked.size > _FULL_INDEX:
            share = 1 << (picked.size // _FULL_INDEX).bit_length() - 1
            hashed = (one.words[picked] * np.uint32(2_654_435_761)) >> np.uint32(16)
            picked = picked[hashed % min(share, 8) == 0]
        clips.append(np.full(picked.size, index, np.int64))
        frames.append(picked.astype(np.int64))
        words.append(one.words[picked])
    if not clips:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint32)
    return np.concatenate(clips), np.concatenate(frames), np.concatenate(words)


def _error(first: Fingerprint, second: Fingerprint, lag: int) -> float | None:
    """Return the share of bits that differ where both clips sound, or None where they are not the same recording."""
    begin = max(0, -lag)
    count = min(first.words.size - begin, second.words.size - begin - lag)
    if count < _SHORTEST:
        return None
    one, other = slice(begin, begin + count), slice(begin + lag, begin + lag + count)
    both = first.sounding[one] & second.sounding[other]
    sounding = int(both.sum())
    least = _LEAST_SHARE * min(int(first.sounding.sum()), int(second.sounding.sum()))
    if sounding < max(_SHORTEST, least):
        return None
    different = np.unpackbits((first.words[one][both] ^ second.words[other][both]).view(np.uint8)).sum()
    error = float(different) / (32 * sounding)
    return error if error <= (MAX_ERROR if sounding >= _SHORT else _SHORT_ERROR) else None
