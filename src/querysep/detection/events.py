"""From a presence map to events: the stretches in which a class is there.

Where a detector has an event calibration (``querysep.io.event_calibration``), each class's track is smoothed by a
median filter of its own and brought to a scale on which 0.5 is its own threshold; all that follows is the same for all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from querysep.detection.windows import PresenceMap
from querysep.io.event_calibration import EventCalibration

SILENCE = "Silence"  # a class of AudioSet


class Stretch(NamedTuple):
    """A stretch of time: seconds."""

    onset_s: float
    offset_s: float


@dataclass(frozen=True)
class Event:
    """A stretch of a recording in which a class is present.

    Attributes:
        onset_s: where it begins, seconds.
        offset_s: where it ends, seconds.
        label: the class.
        score: the largest presence within, 0..1, on the scale of the thresholds.
    """

    onset_s: float
    offset_s: float
    label: str
    score: float


def calibrated(presence: PresenceMap, labels: Sequence[str], calibration: EventCalibration | None) -> PresenceMap:
    """Bring the tracks of all classes to the scale of their events, on which 0.5 is each class's own threshold.

    A track is smoothed by the class's median filter, then its log-odds are shifted by those of the class's threshold t:
    p becomes p (1 - t) / (p (1 - t) + t (1 - p)). So what a user sets above or below 0.5 moves all classes alike.

    Args:
        presence: what the detector says.
        labels: of its classes.
        calibration: of the detector; without one the map comes back as it is.

    Returns:
        The map with other ``framewise``; ``clipwise`` stays what the detector says.
    """
    if calibration is None:
        return presence
    framewise = np.empty_like(presence.framewise)
    for place, (label, track) in enumerate(zip(labels, presence.framewise, strict=True)):
        rule = calibration.rule(label)
        smooth = median_filtered(track, filter_frames(rule.median_s, presence.frame_s)).astype(np.float64)
        above, below = smooth * (1.0 - rule.threshold), (1.0 - smooth) * rule.threshold
        framewise[place] = above / (above + below)
    return replace(presence, framewise=framewise)


def filter_frames(median_s: float, frame_s: float) -> int:
    """Return the length of a median filter, frames: the largest odd number that ``median_s`` holds, at least 1."""
    return max(1, 2 * int((median_s / frame_s + 1.0 + 1e-6) / 2.0) - 1)


def median_filtered(tracks: Float32[np.ndarray, "*rows frame"], frames: int) -> Float32[np.ndarray, "*rows frame"]:
    """Smooth tracks by the median of ``frames`` frames, an odd number; beyond their ends they are mirrored."""
    if frames == 1:
        return tracks
    half = frames // 2
    padded = np.pad(tracks, [(0, 0)] * (tracks.ndim - 1) + [(half, half)], mode="symmetric")
    return np.partition(sliding_window_view(padded, frames, axis=-1), half, axis=-1)[..., half]


def active_frames(
    track: Float32[np.ndarray, " frame"], threshold: float, ends_below: float | None = None
) -> Bool[np.ndarray, " frame"]:
    """Mark the frames in which a class is there.

    Args:
        track: its presence, 0..1.
        threshold: that each stretch must reach.
        ends_below: a lower value at which stretches begin and end; by default the threshold.
    """
    if ends_below is None:
        return track >= threshold
    active = track >= ends_below
    for onset, offset in runs(active):
        if track[onset:offset].max() < threshold:
            active[onset:offset] = False
    return active


def runs(active: Bool[np.ndarray, " frame"]) -> list[tuple[int, int]]:
    """Return where frames are marked: the first of each run, and the one after its last."""
    padded = np.concatenate(([False], active, [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1])
    return [(int(onset), int(offset)) for onset, offset in zip(edges[::2], edges[1::2], strict=True)]


def stretches(active: NDArray[np.bool_], frame_s: float, duration_s: float) -> list[Stretch]:
    """Return where frames are marked, in seconds.

    Args:
        active: shape (frame,).
        frame_s: length of a frame, seconds.
        duration_s: of the recording; nothing lies beyond it.
    """
    return [Stretch(onset * frame_s, min(offset * frame_s, duration_s)) for onset, offset in runs(active)]


def events_of(label: str, track: NDArray[np.float32], active: NDArray[np.bool_], presence: PresenceMap) -> list[Event]:
    """Return the marked stretches of a class as events.

    Args:
        label: of the class.
        track: its presence, shape (frame,).
        active: where it is there, shape (frame,).
        presence: the map that the track is of.
    """
    times = stretches(active, presence.frame_s, presence.duration_s)
    return [
        Event(time.onset_s, time.offset_s, label, float(track[onset:offset].max()))
        for time, (onset, offset) in zip(times, runs(active), strict=True)
    ]


def events(presence: PresenceMap, labels: Sequence[str], threshold: float = 0.5) -> list[Event]:
    """Return the stretches in which a class reaches the threshold, by onset; silence is none of them."""
    found = [
        event
        for label, track in zip(labels, presence.framewise, strict=True)
        if label != SILENCE
        for event in events_of(label, track, active_frames(track, threshold), presence)
    ]
    return sorted(found, key=lambda event: (event.onset_s, -event.score))
