"""Change of sample rate for sound that arrives in blocks."""

import numpy as np
import soxr

from querysep.types import FloatArray


class StreamingResampler:
    """Resample one or more channels, in step with the input to within a sample.

    The result does not depend on how the input is cut into blocks, and equals that of resampling in one go.

    Args:
        rate_in: in Hz.
        rate_out: in Hz; the same rate passes the samples through untouched.
        channels: how many.
    """

    def __init__(self, rate_in: int, rate_out: int, channels: int = 1) -> None:
        self._channels = channels
        self._soxr = (
            None
            if rate_in == rate_out
            else soxr.ResampleStream(rate_in, rate_out, channels, dtype="float32", quality="HQ")
        )

    def push(self, samples: FloatArray) -> FloatArray:
        """Take samples in, give what is ready.

        Args:
            samples: shape (channel, time).

        Returns:
            Shape (channel, time) at the new rate; the time axis may be empty.
        """
        return samples if self._soxr is None else self._chunk(samples, last=False)

    def finish(self) -> FloatArray:
        """Give the rest.

        Returns:
            Shape (channel, time) at the new rate. In all, duration times ``rate_out``, rounded.
        """
        empty = np.zeros((self._channels, 0), np.float32)
        return empty if self._soxr is None else self._chunk(empty, last=True)

    def _chunk(self, samples: FloatArray, *, last: bool) -> FloatArray:
        assert self._soxr is not None
        interleaved = np.ascontiguousarray(samples.T, dtype=np.float32)
        if self._channels == 1:
            return np.asarray(self._soxr.resample_chunk(interleaved[:, 0], last=last))[None]
        return np.ascontiguousarray(self._soxr.resample_chunk(interleaved, last=last).T)


def resample(samples: FloatArray, rate_in: int, rate_out: int) -> FloatArray:
    """Resample a whole recording.

    Args:
        samples: shape (channel, time).
        rate_in: in Hz.
        rate_out: in Hz.

    Returns:
        Shape (channel, time) at ``rate_out``; the duration is kept to half a sample.
    """
    stream = StreamingResampler(rate_in, rate_out, samples.shape[0])
    return np.concatenate([stream.push(samples), stream.finish()], axis=1)
