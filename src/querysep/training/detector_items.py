"""Weakly labelled clips, drawn class by class, as items for the detector."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from querysep.data.recordings import Recordings
from querysep.dsp.placing import place
from querysep.training.augment import place_in_room, set_level, vary
from querysep.training.balance import class_weights
from querysep.training.config import DetectorTraining


class DetectorItems(Dataset[tuple[Tensor, Tensor]]):
    """Items for the detector: (wave (time,), labels (class,)); item i is the same in every run with one seed.

    Args:
        recordings: clips with their sound.
        members: which of the clips to draw from.
        labels: the detector's classes.
        training: settings.
    """

    def __init__(
        self, recordings: Recordings, members: Sequence[int], labels: Sequence[str], training: DetectorTraining
    ) -> None:
        self._recordings = recordings
        self._training = training
        by_class: dict[str, list[int]] = {}
        for index in members:
            by_class.setdefault(recordings.clips[index].labels[0], []).append(index)
        self._members = [np.array(indices) for _, indices in sorted(by_class.items())]
        self._weights = class_weights(np.array([len(indices) for indices in self._members]))
        self._class_ids = {label: index for index, label in enumerate(labels)}

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return item ``index``; there is no end of them."""
        rng = np.random.default_rng([self._training.seed, 1, index])
        wave, target = self._draw(rng)
        wave = set_level(wave, rng.uniform(-45.0, -15.0))
        if rng.random() < self._training.mix_share:
            other, more = self._draw(rng)
            level_db = 20.0 * np.log10(max(float(np.abs(wave).max()), 1e-4)) - 10.0 + rng.uniform(-12.0, 6.0)
            wave = wave + set_level(other, level_db)
            target = np.maximum(target, more)
        if rng.random() < self._training.room_share:
            wave = place_in_room(wave, rng, self._recordings.sample_rate)
        return torch.from_numpy(wave), torch.from_numpy(target)

    def _draw(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        members = self._members[rng.choice(len(self._members), p=self._weights)]
        index = int(rng.choice(members))
        clip = self._recordings.clips[index]
        time = round(self._training.segment_s * self._recordings.sample_rate)
        total, longest = round(clip.duration_s * self._recordings.sample_rate), 2 * time
        start = int(rng.integers(0, total - longest)) if total > longest else 0
        samples = self._recordings.read(index, start, longest)
        wave = place(vary(samples.astype(np.float32) / 32768.0, rng), time, rng, repeat_share=0.5)
        target = np.zeros(len(self._class_ids), dtype=np.float32)
        target[[self._class_ids[label] for label in clip.labels if label in self._class_ids]] = 1.0
        return wave, target
