"""Where in a clip the anchor segment lies: the stretch with most of the class (Chen et al., Section 3.1)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from querysep.detection.windows import PresenceMap

_SMOOTHED_FRAMES = 200  # of the published grid of 1024 frames for 10 seconds: 1.953 s
_CENTISECONDS = 1000


class MiningSettings(BaseModel):
    """What is mined; kept with the catalog, and another setting means another catalog."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    segment_s: float = Field(2.0, gt=0, description="length of an anchor segment")
    choice: Literal["most_present", "published"] = Field(
        "most_present", description="published: on the authors' grid of 1024 frames, clips brought to 10 seconds"
    )
    stretch_s: float = Field(
        10.0, gt=0, description="a longer clip counts as several of this length, an anchor in each"
    )
    per_clip: int | None = Field(None, gt=0, description="so many anchors anywhere in a clip, instead of stretches")
    min_score: float = Field(0.0, ge=0, le=1, description="anchors below it are left out")
    min_purity: float = Field(0.0, ge=0, le=1, description="anchors below it are left out")

    @model_validator(mode="after")
    def _agree(self) -> "MiningSettings":
        if self.stretch_s < self.segment_s:
            raise ValueError(f"stretches of {self.stretch_s} s are shorter than an anchor of {self.segment_s} s")
        if self.choice == "published" and self.per_clip not in (None, 1):
            raise ValueError(f"the published choice gives one anchor for each clip; {self.per_clip} were asked for")
        return self


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


def choose(presence: PresenceMap, class_id: int, sample_rate: int, settings: MiningSettings) -> list[Stretch]:
    """Choose the anchors of one class in a clip, as the settings say; earlier ones first."""
    if settings.choice == "published":
        total = round(presence.duration_s * sample_rate)
        track = presence.framewise[class_id].astype(np.float64)
        return [published_choice(track, total, sample_rate, round(settings.segment_s * sample_rate))]
    if settings.per_clip is not None:
        return strongest(presence, class_id, sample_rate, settings.segment_s, settings.per_clip)
    return most_present(presence, class_id, sample_rate, settings.segment_s, settings.stretch_s)


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
        One stretch for each part, none of which overlap; a clip shorter than a segment is one of its own length.
    """
    sums = _Sums(presence, class_id, sample_rate)
    segment = round(segment_s * sample_rate)
    if sums.total <= segment:
        return [sums.whole()]
    parts = max(1, int((presence.duration_s - segment_s) // stretch_s) + 1)
    found = []
    for part in range(parts):
        low = round(part * stretch_s * sample_rate)
        high = sums.total - segment
        if part < parts - 1:
            high = min(high, round((part + 1) * stretch_s * sample_rate) - segment)
        starts = np.unique(np.append(np.arange(low, max(low, high) + 1, sample_rate // 10), max(low, high)))
        found.append(sums.best(starts, segment))
    return found


def strongest(presence: PresenceMap, class_id: int, sample_rate: int, segment_s: float, count: int) -> list[Stretch]:
    """Choose up to ``count`` anchors anywhere in a clip that do not overlap, each the strongest that is left.

    Returns:
        Stretches in the order of time; fewer where no more fit, and one for a clip shorter than a segment.
    """
    sums = _Sums(presence, class_id, sample_rate)
    segment = round(segment_s * sample_rate)
    if sums.total <= segment:
        return [sums.whole()]
    last = sums.total - segment
    starts = np.unique(np.append(np.arange(0, last + 1, sample_rate // 10), last))
    found: list[Stretch] = []
    while starts.size and len(found) < count:
        best = sums.best(starts, segment)
        found.append(best)
        starts = starts[np.abs(starts - best.first) >= segment]
    return sorted(found, key=lambda stretch: stretch.first)


def purity(presence: PresenceMap, stretch: Stretch, sample_rate: int, unrelated: NDArray[np.bool_]) -> float:
    """Return how little else is present in a stretch.

    It is the probability that none of the unrelated classes is present, each taken as independent of the others with
    its mean presence in the stretch. Of the definitions tried it told anchors with a second sound mixed in from clean
    ones best (docs/mining.md).

    Args:
        presence: map of the clip.
        stretch: of the clip.
        sample_rate: of the clip, Hz.
        unrelated: shape (class,), true for the classes that count against it.
    """
    edges = np.arange(presence.framewise.shape[1] + 1) * presence.frame_s * sample_rate
    heard = np.clip(edges[1:], stretch.first, stretch.end) - np.clip(edges[:-1], stretch.first, stretch.end)
    means = presence.framewise[unrelated].astype(np.float64) @ (heard / max(heard.sum(), 1e-12))
    return float(np.clip(1.0 - means, 0.0, 1.0).prod())


class _Sums:
    """Mean presence of a class between any two samples, so that a segment need not start on a frame."""

    def __init__(self, presence: PresenceMap, class_id: int, sample_rate: int) -> None:
        self.total = round(presence.duration_s * sample_rate)
        track = presence.framewise[class_id].astype(np.float64)
        self._edges = np.minimum(np.arange(track.shape[0] + 1) * presence.frame_s * sample_rate, self.total)
        self._cumulative = np.concatenate(([0.0], np.cumsum(track * np.diff(self._edges))))

    def whole(self) -> Stretch:
        return Stretch(0, self.total, float(self._cumulative[-1]) / self.total)

    def best(self, starts: NDArray[np.int64], segment: int) -> Stretch:
        """Return the segment with the largest sum, the first of equals."""
        upper = np.interp(starts + segment, self._edges, self._cumulative)
        sums = upper - np.interp(starts, self._edges, self._cumulative)
        best = int(np.argmax(sums))
        return Stretch(int(starts[best]), int(starts[best]) + segment, float(sums[best]) / segment)
