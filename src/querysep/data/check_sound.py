"""What is wrong with the sound of one clip: silent, clipped, too short."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FRAME_S = 0.05
_FULL_SCALE = 32_768
_RUN = 4  # equal samples in a row at the peak: a flat top
_NEAR_PEAK = 0.95
_HEARD_S = 5.0
_LOUD_PEAK = 1_638  # -26 dBFS: below, equal samples are rounding


@dataclass(frozen=True)
class Levels:
    """How loud a clip is.

    Attributes:
        peak_db: largest sample, dBFS.
        loudest_db: RMS of the loudest 50 ms, dBFS.
        clamped: share of the samples that lie on flat tops, 0..1.
        flat_tops: how many.
    """

    peak_db: float
    loudest_db: float
    clamped: float
    flat_tops: int


def levels(samples: NDArray[np.int16], sample_rate: int) -> Levels:
    """Measure a clip.

    Args:
        samples: shape (time,), at least one.
        sample_rate: Hz.
    """
    wide = samples.astype(np.int32)
    peak = int(np.abs(wide).max())
    frame = max(1, round(_FRAME_S * sample_rate))
    starts = np.arange(0, wide.size, frame)
    squares = np.add.reduceat(wide.astype(np.float64) ** 2, starts) / np.diff(np.append(starts, wide.size))
    on_top, tops = _flat_tops(wide, peak)
    return Levels(_db(peak), _db(float(np.sqrt(squares.max()))), on_top / wide.size, tops)


def loudest(samples: NDArray[np.int16], sample_rate: int) -> NDArray[np.int16]:
    """Return the loudest five seconds of a clip, or all of a shorter one."""
    wanted, step = round(_HEARD_S * sample_rate), sample_rate // 10
    if samples.size <= wanted:
        return samples
    power = np.add.reduceat(samples.astype(np.float64) ** 2, np.arange(0, samples.size, step))
    sums = np.convolve(power, np.ones(wanted // step), "valid")
    begin = min(int(sums.argmax()) * step, samples.size - wanted)
    return samples[begin : begin + wanted]


def _db(level: float) -> float:
    return 20 * float(np.log10(max(level, 1e-3) / _FULL_SCALE))


def _flat_tops(samples: NDArray[np.int32], peak: int) -> tuple[int, int]:
    """Return how many samples lie on flat tops, and how many tops there are."""
    if peak < _LOUD_PEAK or samples.size <= _RUN:
        return 0, 0
    high = np.abs(samples) >= _NEAR_PEAK * peak
    flat = high[1:] & high[:-1] & (np.abs(np.diff(samples)) <= 1)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], flat.view(np.int8), [0]))))
    lengths = edges[1::2] - edges[::2] + 1
    long = lengths[lengths >= _RUN]
    return int(long.sum()), int(long.size)
