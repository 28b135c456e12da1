"""How loud a recording is: what counts as silence, and the gain that a quiet one gets before a detector hears it."""

from dataclasses import dataclass

import numpy as np

from querysep.types import FloatArray

SILENT = 10.0 ** (-90.0 / 20.0)
"""Largest absolute sample of what is silence: -90 dBFS."""
QUIET = 10.0 ** (-30.0 / 20.0)
"""A recording whose peak lies lower is brought up to here: below, detectors lose sounds in the floor of their logs."""
BOUND = 1e6
"""Samples beyond this (120 dB above full scale) are clamped where networks see them: their powers must be finite."""
_FAR_OVER = 100.0  # times full scale


def swing(wave: FloatArray) -> float:
    """Return half the distance between the largest and the least sample: the peak, whatever the offset (DC)."""
    return 0.5 * (float(wave.max()) - float(wave.min())) if wave.size else 0.0


def far_over_full_scale(peak: float, what: str) -> str | None:
    """Return a warning if samples cannot be meant to lie in -1..1, as integers that were not scaled.

    Args:
        peak: largest absolute sample.
        what: the sound, as a sentence begins.
    """
    if peak <= _FAR_OVER:
        return None
    bits = 16 if peak <= 2**15 else 24 if peak <= 2**23 else 32
    return (
        f"{what} reaches {peak:.4g}, far over full scale (1.0). If these are {bits}-bit integers, divide them by "
        f"{2 ** (bits - 1)}."
    )


def quiet_gain(loudest: float) -> float:
    """Return what a recording is multiplied with before a detector hears it.

    A stream knows no future, so ``loudest`` is the largest swing so far, for files too: both give the same. What is
    quiet beside something loud before it stays quiet; only what is quiet from the beginning on is brought up.

    Args:
        loudest: largest ``swing`` of the recording so far.
    """
    return max(1.0, QUIET / loudest) if loudest >= SILENT else 1.0


@dataclass(frozen=True)
class Silence:
    """A stretch of silence.

    Attributes:
        time: samples.
    """

    time: int


class SoundSections:
    """Cut a recording that arrives in blocks into sections of sound and the silence between them.

    Silent is what lies below -90 dBFS in all channels for longer than ``hold``, or at either end. What is done with
    each section alone does not depend on the silence around it. The cuts do not depend on the blocks.

    Args:
        channels: of the recording.
        hold: samples of silence that belong to the sound around them; so long may sound be held back.
    """

    def __init__(self, channels: int, hold: int) -> None:
        self._hold = hold
        self._held = np.zeros((channels, 0), np.float32)
        self._inside = False

    def push(self, samples: FloatArray) -> list[FloatArray | Silence]:
        """Take samples of shape (channel, time) in; give pieces of sound, shape (channel, time), and silence, in order.

        Pieces with no silence between them belong to one section.
        """
        wave = np.concatenate((self._held, samples), axis=1) if self._held.shape[1] else samples
        loud = np.flatnonzero((np.abs(wave) >= SILENT).any(axis=0))
        if not len(loud):
            return self._end(wave)
        found: list[FloatArray | Silence] = []
        last = 0  # end of what was given
        if loud[0] > (self._hold if self._inside else 0):
            last = int(loud[0])
            found.append(Silence(last))
        for place in np.flatnonzero(np.diff(loud) > self._hold + 1):
            stop, start = int(loud[place]) + 1, int(loud[place + 1])
            found += [wave[:, last:stop], Silence(start - stop)]
            last = start
        stop = int(loud[-1]) + 1
        found.append(wave[:, last:stop])
        self._inside = True
        return found + self._end(wave[:, stop:])

    def _end(self, quiet: FloatArray) -> list[FloatArray | Silence]:
        self._inside = self._inside and quiet.shape[1] <= self._hold
        self._held = quiet if self._inside else quiet[:, :0]
        return [] if self._inside or not quiet.shape[1] else [Silence(quiet.shape[1])]

    def finish(self) -> list[FloatArray | Silence]:
        """Give the silence at the end."""
        held, self._held = self._held, self._held[:, :0]
        return [Silence(held.shape[1])] if held.shape[1] else []
