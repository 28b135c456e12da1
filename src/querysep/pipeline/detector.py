"""The detector as users meet it: what is heard when."""

from pathlib import Path
from typing import Any, Self

import numpy as np

from querysep.detection.events import Event, calibrated, events
from querysep.detection.windows import PresenceMap, PresenceStream
from querysep.dsp.downmix import StreamingDownmix
from querysep.dsp.streaming_resampler import StreamingResampler
from querysep.io.mixture_source import MixtureSource
from querysep.model import Model, load_model
from querysep.progress import Progress, silent
from querysep.types import FloatArray


class Detector:
    """Sound event detection on recordings of any length, rate and channel count.

    Args:
        model: a loaded model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    @classmethod
    def load(cls, name: str | Path = "default", device: str = "auto") -> Self:
        """Load a model by name or folder.

        Raises:
            WeightsError: there is no such model, or it is damaged.
            DeviceError: the device is not there.
        """
        return cls(load_model(name, device))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the presence map."""
        return self.model.labels

    def presence(self, audio: Any, sample_rate: int | None = None, *, progress: Progress = silent) -> PresenceMap:
        """Give the framewise probabilities of every class.

        Args:
            audio: a path ("-" for standard input), Audio, an array or tensor of shape (time,) or (channel, time), or a
                `MixtureSource`.
            sample_rate: of an array or tensor, in Hz.
            progress: told the seconds done.

        Raises:
            AudioError: the recording cannot be used.
        """
        source = audio if isinstance(audio, MixtureSource) else MixtureSource(audio, sample_rate)
        listener = Listener(self.model, source.sample_rate)
        total_s = None if source.approximate_samples is None else source.approximate_samples / source.sample_rate
        done = 0
        for block in source.blocks():
            listener.push(block)
            done += block.shape[1]
            progress(done / source.sample_rate, total_s, "detecting")
        return listener.finish()

    def detect(
        self, audio: Any, sample_rate: int | None = None, *, threshold: float = 0.5, progress: Progress = silent
    ) -> list[Event]:
        """Give the stretches in which a class is present, by onset.

        Args:
            audio: as `presence`.
            sample_rate: of an array or tensor, in Hz.
            threshold: as `events`.
            progress: told the seconds done.

        Raises:
            AudioError: the recording cannot be used.
        """
        return self.events(self.presence(audio, sample_rate, progress=progress), threshold)

    def events(self, presence: PresenceMap, threshold: float = 0.5) -> list[Event]:
        """Give the stretches of a presence map in which a class is present, by onset.

        Args:
            presence: what `presence` gave.
            threshold: least presence, 0..1. Where the model has an event calibration, 0.5 stands for the threshold of
                each class, its probabilities smoothed by its own median filter, and what is set above or below moves
                all of them alike, in log-odds; scores are on the same scale. Otherwise it is the least probability.
        """
        return events(calibrated(presence, self.labels, self.model.events), self.labels, threshold)


class Listener:
    """Build a presence map from blocks of any rate and channel count.

    Args:
        model: a loaded model.
        sample_rate: of the blocks, in Hz.
    """

    def __init__(self, model: Model, sample_rate: int) -> None:
        rate = model.detector.config.sample_rate
        self._resampler = StreamingResampler(sample_rate, rate)
        self._stream = PresenceStream(model.detector, model.device)
        self._rate = sample_rate
        self._downmix: StreamingDownmix | None = None
        self._heard = False

    def push(self, block: FloatArray) -> None:
        """Take a block of shape (channel, time) in."""
        if self._downmix is None:
            self._downmix = StreamingDownmix(self._rate, block.shape[0])
        self._push(self._resampler.push(self._downmix.push(block)[None]))

    def _push(self, mono: FloatArray) -> None:
        if mono.shape[1]:
            self._heard = True
            self._stream.push(mono[0])

    def finish(self) -> PresenceMap:
        """Give the presence map of all blocks."""
        if self._downmix is not None:
            self._push(self._resampler.push(self._downmix.finish()[None]))
        self._push(self._resampler.finish())
        if not self._heard:  # so short that resampling leaves nothing
            self._stream.push(np.zeros(1, np.float32))
        return self._stream.finish()
