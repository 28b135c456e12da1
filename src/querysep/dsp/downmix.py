"""From channels to the one that the networks and the tables of a recording see."""

import numpy as np

from querysep.dsp.level import BOUND
from querysep.types import FloatArray

_FRAME_S = 0.25
_FADE = 64  # a fade takes this part of a frame
_CANCELLED = 0.1  # of the power that the mean of independent channels has


class StreamingDownmix:
    """Mean of the channels; where they cancel, the loudest of them.

    An inverted channel or a wide effect leaves nothing, or the wrong thing, in the mean. In each frame of 0.25 s whose
    mean has less than a tenth of the power that the mean of as many independent channels has (-13 dB below the channels
    of a pair), the loudest channel stands in; a short fade leads from one to the other. So the downmix of
    sounds has the level of their channels, and ordinary recordings give exactly the mean. The result does not depend on
    how the recording is cut into blocks; up to a frame is held back.

    Args:
        sample_rate: in Hz.
        channels: of the recording.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._frame = max(1, round(_FRAME_S * sample_rate))
        self._waiting = np.zeros((channels, 0), np.float32)
        self._before: int | None = None  # the channel that stood in, in the frame before
        self._channels = channels

    def push(self, samples: FloatArray) -> FloatArray:
        """Take samples of shape (channel, time) in, give what is ready, shape (time,)."""
        if self._channels == 1:
            mono: FloatArray = np.clip(samples[0], -BOUND, BOUND)
            return mono
        wave = np.concatenate((self._waiting, samples), axis=1)
        ready = wave.shape[1] // self._frame * self._frame
        self._waiting = wave[:, ready:]
        return self._mix(wave[:, :ready])

    def finish(self) -> FloatArray:
        """Give the rest, shape (time,)."""
        rest, self._waiting = self._waiting, self._waiting[:, :0]
        return self._mix(rest)

    def _mix(self, wave: FloatArray) -> FloatArray:
        mixed: FloatArray = wave.mean(axis=0, dtype=np.float32)
        for start in range(0, wave.shape[1], self._frame):
            stop = start + self._frame
            channels, mean = wave[:, start:stop], mixed[start:stop].copy()
            powers = np.square(channels, dtype=np.float64).sum(axis=1)
            cancelled = np.square(mean, dtype=np.float64).sum() < _CANCELLED * powers.mean() / self._channels
            now = int(powers.argmax()) if cancelled else None
            if now is None and self._before is None:
                continue
            old = mean if self._before is None else channels[self._before]
            new = mean if now is None else channels[now]
            share = np.minimum(np.arange(len(mean), dtype=np.float32) / max(1, self._frame // _FADE), 1.0)
            mixed[start:stop] = old + (new - old) * share
            self._before = now
        return np.clip(mixed, -BOUND, BOUND)


def downmix(samples: FloatArray, sample_rate: int) -> FloatArray:
    """Return the downmix of a whole recording of shape (channel, time), shape (time,); see ``StreamingDownmix``."""
    stream = StreamingDownmix(sample_rate, samples.shape[0])
    return np.concatenate((stream.push(samples), stream.finish()))
