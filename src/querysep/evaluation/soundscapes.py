"""Soundscapes: recordings of one side of a data set laid into ten seconds, so that it is known what sounds when."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import Clip, Split
from querysep.data.recordings import Recordings
from querysep.detection.events import Stretch, calibrated
from querysep.detection.windows import hear
from querysep.errors import DataError
from querysep.evaluation.metrics.events import Scored, Strong, joined_stretches
from querysep.io.event_calibration import EventCalibration
from querysep.model import TrainedDetector
from querysep.progress import Progress, silent

DURATION_S = 10.0
_LONGEST_EVENT_S, _SHORTEST_EVENT_S = 4.0, 0.1
_QUIET_DB = 40.0  # below the loudest 10 ms: silence before and after the sound
_LEVELS_DB = (-32.0, -20.0)  # of an event, mean over its length, re full scale
_EVENTS = (2, 4)
_TRIES = 50
_FEWEST, _EXPECTED_EVENTS = 300, 15
_PER_PASS = 16


@dataclass(frozen=True)
class Soundscape:
    """Ten seconds of sound, and what sounds in them when.

    Attributes:
        wave: shape (time,), at the recordings' rate.
        events: by class, for all labels that the detector knows.
        clips: paths of the recordings.
    """

    wave: NDArray[np.float32]
    events: Strong
    clips: tuple[str, ...]


class Soundscapes:
    """Draws soundscapes from one side of a data set; soundscape i is the same for one seed.

    Two to four recordings of different classes, without the silence around them and at most 4 s long, begin anywhere.

    Args:
        recordings: of which one side is used, without held-out classes.
        labels: that the detector knows; only recordings whose first label is among them are used.
        seed: of the choice.
        split: the side.

    Raises:
        DataError: there are recordings of fewer than two classes.
    """

    def __init__(self, recordings: Recordings, labels: Collection[str], seed: int = 0, split: Split = "test") -> None:
        self._recordings, self._labels, self._seed = recordings, frozenset(labels), seed
        by_class: dict[str, list[int]] = defaultdict(list)
        for index, clip in enumerate(recordings.clips):
            if clip.split == split and not clip.held_out and clip.labels[0] in self._labels:
                by_class[clip.labels[0]].append(index)
        self._by_class = {label: by_class[label] for label in sorted(by_class)}
        if len(self._by_class) < 2:
            raise DataError(
                f"The {split} side has recordings of {len(self._by_class)} class that the detector knows; soundscapes "
                "need 2."
            )

    @property
    def enough(self) -> int:
        """So many that each class can be expected to sound 15 times, and at least 300."""
        return max(_FEWEST, -(-_EXPECTED_EVENTS * len(self._by_class) * 2 // sum(_EVENTS)))

    def draw(self, number: int) -> Soundscape:
        """Make a soundscape.

        Raises:
            DataError: a recording cannot be read, or all that were drawn are silent.
        """
        rng = np.random.default_rng([self._seed, number])
        rate = self._recordings.sample_rate
        wave = np.zeros(round(DURATION_S * rate), np.float32)
        events: dict[str, list[Stretch]] = defaultdict(list)
        clips: list[Clip] = []
        wanted = min(int(rng.integers(_EVENTS[0], _EVENTS[1] + 1)), len(self._by_class))
        for label in rng.permutation(list(self._by_class))[:wanted]:
            clip, sound = self._sound(str(label), rng)
            first = int(rng.integers(0, wave.shape[0] - sound.shape[0] + 1))
            wave[first : first + sound.shape[0]] += sound
            stretch = Stretch(first / rate, (first + sound.shape[0]) / rate)
            for known in self._labels.intersection(clip.labels):
                events[known].append(stretch)
            clips.append(clip)
        wave *= np.float32(min(1.0, 0.99 / max(float(np.abs(wave).max()), 1e-9)))
        return Soundscape(
            wave,
            {label: joined_stretches(stretches) for label, stretches in sorted(events.items())},
            tuple(clip.path for clip in clips),
        )

    def _sound(self, label: str, rng: np.random.Generator) -> tuple[Clip, NDArray[np.float32]]:
        """Draw a recording of a class, and return its sound at a random level."""
        rate = self._recordings.sample_rate
        for _ in range(_TRIES):
            index = int(rng.choice(self._by_class[label]))
            samples = self._recordings.read(index, 0, round(DURATION_S * rate))
            sound = trim(samples.astype(np.float32) / 32768.0, rate)[: round(_LONGEST_EVENT_S * rate)]
            level = float(np.sqrt(np.square(sound, dtype=np.float64).mean())) if sound.shape[0] else 0.0
            if sound.shape[0] >= _SHORTEST_EVENT_S * rate and level > 1e-5:
                wanted = 10.0 ** (rng.uniform(*_LEVELS_DB) / 20.0)
                return self._recordings.clips[index], sound * np.float32(wanted / level)
        raise DataError(f"The recordings of '{label}' are too short or too quiet for a soundscape.")


def hear_soundscapes(
    detector: TrainedDetector,
    soundscapes: Soundscapes,
    count: int,
    calibration: EventCalibration | None = None,
    progress: Progress = silent,
) -> list[Scored]:
    """Let a detector hear the first soundscapes, a few in each pass.

    Args:
        detector: its network may be on any device.
        soundscapes: at the detector's rate.
        count: how many.
        calibration: by which the presence maps are smoothed and scaled; None: they stay framewise probabilities.
        progress: told after each pass.

    Returns:
        For each its events and its presence map.

    Raises:
        DataError: a recording cannot be read, or is silent.
    """
    device = next(detector.network.parameters()).device
    scored = []
    for first in range(0, count, _PER_PASS):
        drawn = [soundscapes.draw(number) for number in range(first, min(first + _PER_PASS, count))]
        for one, heard in zip(drawn, hear(detector.network, [one.wave for one in drawn], device), strict=True):
            presence = calibrated(heard.presence, detector.labels, calibration)
            scored.append(Scored(one.events, presence.framewise, presence.frame_s, DURATION_S))
        progress(len(scored), count, "hearing soundscapes")
    return scored


def trim(wave: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return a wave without the silence before and after it: what is 40 dB below its loudest 10 ms.

    Args:
        wave: shape (time,).
        sample_rate: in Hz.
    """
    frame = sample_rate // 100
    count = wave.shape[0] // frame
    if count < 2:
        return wave
    power = np.square(wave[: count * frame].reshape(count, frame), dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power >= max(power.max() * 10.0 ** (-_QUIET_DB / 10.0), 1e-12))
    if not loud.shape[0]:
        return wave[:0]
    last = wave.shape[0] if loud[-1] == count - 1 else (loud[-1] + 1) * frame
    return wave[loud[0] * frame : last]
