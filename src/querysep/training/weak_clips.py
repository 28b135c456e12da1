"""Weakly labeled clips for the detector: drawn class by class, varied, alone or two at a time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from querysep.data.recordings import Recordings
from querysep.dsp.mixing import Play, Playback, render
from querysep.training.augmentations import AUGMENTATIONS, Augmentation
from querysep.training.config import DetectorTraining
from querysep.training.sampler import class_weights

_SILENT = 1e-4
_LEVEL_DB, _SECOND_DB = (-45.0, -15.0), (-22.0, -4.0)


class WeakBatch(NamedTuple):
    """Items with the sounds that they need; the mixer renders it where the network is.

    Attributes:
        sounds: clips as they were recorded, shape (row, time), int16.
        playback: of each row.
        slots: which of the two sounds of which item each row is, shape (row,).
        levels_db: shape (batch, 2): root mean square of the first's sounding samples over full scale, and of the
            second's over the first's peak.
        labels: of both, shape (batch, class).
        time: samples of an item.
        sample_rate: Hz.
    """

    sounds: Tensor
    playback: Playback
    slots: Tensor
    levels_db: Tensor
    labels: Tensor
    time: int
    sample_rate: int

    def waves(self) -> Tensor:
        """Render the items, shape (batch, time)."""
        rendered = render(self.sounds, self.playback, self.time, self.sample_rate)
        segments = rendered.new_zeros(self.levels_db.numel(), self.time)
        segments[self.slots] = rendered
        segments = segments.reshape(-1, 2, self.time)
        sounding = segments.abs() > _SILENT
        level = (segments.square() * sounding).sum(dim=2) / sounding.sum(dim=2).clamp(min=1)
        gains = torch.pow(10.0, self.levels_db / 20.0) / level.sqrt().clamp(min=_SILENT)
        first = segments[:, 0] * gains[:, :1]
        peak = first.abs().amax(dim=1, keepdim=True).clamp(min=_SILENT)
        waves: Tensor = first + segments[:, 1] * gains[:, 1:] * peak
        return waves


class ClipDraw:
    """Draws clips class by class, and what is heard of each.

    Args:
        recordings: clips with their sound.
        members: which of the clips to draw from.
        training: settings.
        longest: times an item's length that are read of a clip at most; played faster, more of it is needed.
        augment: how sounds are varied; None: as ``training.augmentation`` says.

    Attributes:
        recordings: as given.
        classes: first labels of the members.
        members: of each class.
        time: samples of an item.
        longest: samples that are read of a clip.
    """

    def __init__(
        self,
        recordings: Recordings,
        members: Sequence[int],
        training: DetectorTraining,
        longest: float,
        augment: Augmentation | None = None,
    ) -> None:
        self.recordings, self._training = recordings, training
        self._augment = augment or AUGMENTATIONS[training.augmentation]
        by_class: dict[str, list[int]] = {}
        for index in members:
            by_class.setdefault(recordings.clips[index].labels[0], []).append(index)
        self.classes = sorted(by_class)
        self.members = [np.array(by_class[label]) for label in self.classes]
        self._weights = class_weights(np.array([len(indices) for indices in self.members]))
        self.time = round(training.segment_s * recordings.sample_rate)
        self.longest = round(longest * self.time)

    def number(self, rng: np.random.Generator) -> int:
        """Draw a class; return its place among the classes."""
        return int(rng.choice(len(self.members), p=self._weights))

    def clip(self, rng: np.random.Generator) -> int:
        """Draw a class and one of its clips; return the clip's index."""
        return int(rng.choice(self.members[self.number(rng)]))

    def sound(self, index: int, rng: np.random.Generator) -> tuple[Tensor, Play]:
        """Return a stretch of a clip, filled up with silence, shape (time,), int16, and draw how it is played.

        Raises:
            DataError: the sound cannot be read.
        """
        total = round(self.recordings.clips[index].duration_s * self.recordings.sample_rate)
        start = int(rng.integers(0, total - self.longest)) if total > self.longest else 0
        samples = torch.from_numpy(np.array(self.recordings.read(index, start, self.longest)))
        sound = torch.zeros(self.longest, dtype=torch.int16)
        sound[: len(samples)] = samples
        return sound, self._augment(Play(max(1, len(samples))), self.time, rng, self._training)


class WeakClips:
    """Batches of items for the detector; item i is the same in every run with one seed.

    Args:
        recordings: clips with their sound.
        members: which of the clips to draw from.
        labels: the detector's classes.
        training: settings.
        augment: how sounds are varied; None: as ``training.augmentation`` says.
    """

    def __init__(
        self,
        recordings: Recordings,
        members: Sequence[int],
        labels: Sequence[str],
        training: DetectorTraining,
        augment: Augmentation | None = None,
    ) -> None:
        self._clips, self._training = ClipDraw(recordings, members, training, 2.0, augment), training
        self._class_ids = {label: index for index, label in enumerate(labels)}

    def batch(self, indices: Sequence[int]) -> WeakBatch:
        """Return the items of some indices; there is no end of them.

        Raises:
            DataError: the sound cannot be read.
        """
        labels = torch.zeros(len(indices), len(self._class_ids))
        levels_db = torch.zeros(len(indices), 2)
        sounds, plays, slots = [], [], []
        for row, index in enumerate(indices):
            rng = np.random.default_rng([self._training.seed, 1, index])
            levels_db[row] = torch.tensor([rng.uniform(*_LEVEL_DB), rng.uniform(*_SECOND_DB)])
            for place in range(1 + int(rng.random() < self._training.mix_share)):
                clip = self._clips.clip(rng)
                sound, play = self._clips.sound(clip, rng)
                sounds.append(sound)
                plays.append(play)
                slots.append(2 * row + place)
                carried = self._clips.recordings.clips[clip].labels
                labels[row, [self._class_ids[label] for label in carried if label in self._class_ids]] = 1.0
        return WeakBatch(
            torch.stack(sounds),
            Playback.of(plays),
            torch.tensor(slots),
            levels_db,
            labels,
            self._clips.time,
            self._clips.recordings.sample_rate,
        )
