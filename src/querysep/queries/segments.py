"""From an example of sound to the segments that the detector embeds."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from querysep.dsp.downmix import downmix
from querysep.dsp.level import SILENT, quiet_gain, swing
from querysep.dsp.streaming_resampler import resample
from querysep.types import Audio, FloatArray

SEGMENT_S = 2.0  # as the anchor segments of training
SILENCE_DBFS = -60.0
SILENCE_BELOW_LOUDEST_DB = 40.0
_TRIM_STEP_S = 0.05


@dataclass(frozen=True)
class Segments:
    """Equally long stretches of one example.

    Attributes:
        waves: shape (segment, time), mono at the detector's rate; no rows where the example is silent.
        used_s: seconds of the example that they cover.
    """

    waves: FloatArray
    used_s: float


def cut_segments(example: Audio, sample_rate: int) -> Segments:
    """Cut an example into segments of 2 s and leave out the silent ones.

    The channels are mixed by ``downmix``; a quiet example is brought up (``quiet_gain``), others keep their
    level. Silence at both ends is cut off, since the detector was trained on and anchors were embedded from sounds
    without it. What is left is one segment if it is at most 2 s long; else the last segment is moved back to end with
    it. Silent is what then lies below -60 dBFS (RMS), or more than 40 dB below the loudest; and an example with nothing
    above -90 dBFS.

    Args:
        example: at any rate.
        sample_rate: the detector's, in Hz.
    """
    wave = resample(downmix(example.samples, example.sample_rate)[None], example.sample_rate, sample_rate)[0]
    loudest = swing(wave)
    if loudest < SILENT:
        wave = wave[:0]
    wave = wave * np.float32(quiet_gain(loudest))
    size = round(SEGMENT_S * sample_rate)
    wave = _trimmed(wave, sample_rate)
    if not len(wave):
        return Segments(np.zeros((0, size), np.float32), 0.0)
    if len(wave) <= size:
        return Segments(wave[None], len(wave) / sample_rate)
    starts = list(range(0, len(wave) - size + 1, size))
    if starts[-1] + size < len(wave):
        starts.append(len(wave) - size)
    segments = np.stack([wave[start : start + size] for start in starts])
    loud_rows = _is_loud(segments)
    covered = np.zeros(len(wave), dtype=bool)
    for start in np.array(starts)[loud_rows]:
        covered[start : start + size] = True
    return Segments(segments[loud_rows], float(covered.sum()) / sample_rate)


def rms_db(rows: FloatArray) -> NDArray[np.float64]:
    """Return the level of each row of shape (row, time), in dBFS; digital silence gives -200."""
    power = np.mean(np.square(rows, dtype=np.float64), axis=1)
    return np.asarray(10 * np.log10(np.maximum(power, 1e-20)))


def _is_loud(rows: FloatArray) -> NDArray[np.bool_]:
    level_db = rms_db(rows)
    return np.asarray((level_db >= SILENCE_DBFS) & (level_db >= level_db.max() - SILENCE_BELOW_LOUDEST_DB))


def _trimmed(wave: FloatArray, sample_rate: int) -> FloatArray:
    """Cut silence off both ends, in steps of 50 ms; nothing is left of a silent wave."""
    step = max(1, round(_TRIM_STEP_S * sample_rate))
    rows = math.ceil(len(wave) / step)
    if not rows:
        return wave
    padded = np.pad(wave, (0, rows * step - len(wave)))
    loud = np.flatnonzero(_is_loud(padded.reshape(rows, step)))
    return wave[int(loud[0]) * step : (int(loud[-1]) + 1) * step] if len(loud) else wave[:0]
