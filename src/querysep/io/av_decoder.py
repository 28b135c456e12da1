"""Decoding by PyAV (FFmpeg), for what libsndfile cannot read: M4A, Opus in Matroska, the sound of a video."""

from collections.abc import Iterator
from pathlib import Path

import av
import av.error
import numpy as np

from querysep.errors import AudioError
from querysep.types import FloatArray

_CUT_TOLERANCE_S = 1.0  # containers state durations loosely; a file cut by less plays as it is


class AvDecoder:
    """The first sound track of a container.

    Attributes:
        sample_rate: in Hz.
        channels: how many.
        approximate_samples: the container's own estimate, or None.

    Raises:
        AudioError: the file is not audio, or has no sound track.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._container = av.open(str(path))
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise AudioError(
                f"'{path}' is not audio that we can read, or it is truncated. "
                "Give WAV, FLAC, OGG, MP3, AIFF, M4A or video."
            ) from error
        tracks = self._container.streams.audio
        if not tracks or not tracks[0].codec_context.sample_rate or not tracks[0].codec_context.layout.nb_channels:
            self._container.close()
            raise AudioError(f"'{path}' has no sound track that we can read. Give a file with sound.")
        self._track = tracks[0]
        self.sample_rate = int(self._track.codec_context.sample_rate)
        self.channels = int(self._track.codec_context.layout.nb_channels)
        self._duration_s = self._stated_duration_s()
        self.approximate_samples = None if self._duration_s is None else round(self._duration_s * self.sample_rate)

    def _stated_duration_s(self) -> float | None:
        if self._track.duration is not None and self._track.time_base is not None:
            return float(self._track.duration * self._track.time_base)
        return None if self._container.duration is None else self._container.duration / av.time_base

    def close(self) -> None:
        """Give the file back; may be called twice."""
        self._container.close()

    def blocks(self, size: int) -> Iterator[FloatArray]:
        """Decode from the beginning, once.

        Args:
            size: samples a channel in a block; the last may be shorter.

        Yields:
            Blocks of shape (channel, time), float32.

        Raises:
            AudioError: the file is damaged or ends more than a second before its stated duration.
        """
        held: list[FloatArray] = []
        count, total = 0, 0
        for piece in self._pieces():
            held.append(piece)
            count += piece.shape[1]
            total += piece.shape[1]
            while count >= size:
                joined = np.concatenate(held, axis=1)
                yield np.ascontiguousarray(joined[:, :size])
                held, count = [joined[:, size:]], count - size
        if count:
            yield np.concatenate(held, axis=1)
        stated_s, got_s = self._duration_s or 0.0, total / self.sample_rate
        if got_s + _CUT_TOLERANCE_S + 0.01 * stated_s < stated_s and self._is_only_track():
            raise AudioError(
                f"'{self.path}' is truncated: it states {stated_s:.1f} s, we got {got_s:.1f} s. "
                "Copy or download it again."
            )

    def _is_only_track(self) -> bool:
        """A film's sound may rightly be shorter than the film, so only the track's own duration counts there."""
        return self._track.duration is not None or len(self._container.streams) == 1

    def _pieces(self) -> Iterator[FloatArray]:
        layout = self._track.codec_context.layout
        to_float = av.AudioResampler(format="fltp", layout=layout, rate=self.sample_rate)
        try:
            for frame in self._container.decode(self._track):
                for part in to_float.resample(frame):
                    yield part.to_ndarray().astype(np.float32, copy=False)
            for part in to_float.resample(None):
                yield part.to_ndarray().astype(np.float32, copy=False)
        except (av.error.FFmpegError, ValueError) as error:
            raise AudioError(f"'{self.path}' is truncated or damaged: {error}. Copy or download it again.") from error
