"""Where in a clip the anchor segment lies: the stretch with most of the class (Chen et al., Section 3.1)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from querysep.detection.windows import PresenceMap

_SMOOTHED_FRAMES = 200  # of the published grid of 1024 frames for 10 seconds: 1.953 s
_CENTISECONDS = 1000


@dataclass(frozen=True)
class Stretch:
    """A stretch of a clip: ``first`` to ``end`` in samples, and the mean presence of the class in it."""

    first: int
    end: int
    score: float


def published_choice(
    presence: NDArray[np.float64], clip_time: int, sample_rate: int = 32_000, segment_time: int = 64_000
) -> Stretch:
    """Choose as the published code does, for 10-second clips.

    Args:
        presence: framewise presence of the class over the clip, shape (frame,).
        clip_time: length of the clip, samples.
        sample_rate: in Hz.
        segment_time: length of the segment, samples.

    Returns:
        The segment around the first largest value of the presence summed over 200 frames, moved into the clip.
    """
    summed = np.convolve(presence, np.ones(_SMOOTHED_FRAMES), mode="same")
    peak = int(np.argmax(summed))
    centre = peak * _CENTISECONDS // presence.shape[0] * sample_rate // 100
    first = min(max(0, centre - segment_time // 2), max(0, clip_time - segment_time))
    return Stretch(first, first + segment_time, float(summed[peak]) / _SMOOTHED_FRAMES)


def most_present(
    presence: PresenceMap, class_id: int, sample_rate: int, segment_s: float, stretch_s: float
) -> list[Stretch]:
    """Choose one anchor in each part of a clip of any length.

    Args:
        presence: map of the clip.
        class_id: row of the map.
        sample_rate: of the clip, Hz.
        segment_s: length of an anchor segment, seconds.
        stretch_s: length of the parts; a last part shorter than a segment counts with the one before.

    Returns:
        One stretch for each part; a clip shorter than a segment is one stretch of its own length.
    """
    total = round(presence.duration_s * sample_rate)
    segment = round(segment_s * sample_rate)
    track = presence.framewise[class_id].astype(np.float64)
    if total <= segment:
        return [Stretch(0, total, float(track.mean()))]
    parts = max(1, int((presence.duration_s - segment_s) // stretch_s) + 1)
    frame = presence.frame_s * sample_rate
    # Cumulative presence at any sample, so that a segment need not start on a frame.
    edges = np.minimum(np.arange(track.shape[0] + 1) * frame, total)
    cumulative = np.concatenate(([0.0], np.cumsum(track * np.diff(edges))))
    found = []
    for part in range(parts):
        low = round(part * stretch_s * sample_rate)
        high = (
            total - segment
            if part == parts - 1
            else min(total - segment, round((part + 1) * stretch_s * sample_rate) - segment)
        )
        starts = np.unique(np.append(np.arange(low, max(low, high) + 1, sample_rate // 10), max(low, high)))
        sums = np.interp(starts + segment, edges, cumulative) - np.interp(starts, edges, cumulative)
        best = int(np.argmax(sums))
        found.append(Stretch(int(starts[best]), int(starts[best]) + segment, float(sums[best]) / segment))
    return found
