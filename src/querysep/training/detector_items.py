"""Weakly labelled clips, drawn class by class, as items for the detector."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from querysep.data.clips import ClipBank
from querysep.dsp.placing import place
from querysep.training.augment import set_level, vary
from querysep.training.balance import class_weights
from querysep.training.config import DetectorTraining


class DetectorItems(Dataset[tuple[Tensor, Tensor]]):
    """Items for the detector: (wave (time,), labels (class,)); item i is the same in every run with one seed."""

    def __init__(self, bank: ClipBank, training: DetectorTraining) -> None:
        self._bank = bank
        self._training = training
        by_class: dict[str, list[int]] = {}
        for index, clip in enumerate(bank.clips):
            by_class.setdefault(clip.labels[0], []).append(index)
        self._members = [np.array(members) for _, members in sorted(by_class.items())]
        self._weights = class_weights(np.array([len(members) for members in self._members]))
        self._class_ids = {label: index for index, label in enumerate(bank.labels)}

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
        return torch.from_numpy(wave), torch.from_numpy(target)

    def _draw(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        members = self._members[rng.choice(len(self._members), p=self._weights)]
        index = int(rng.choice(members))
        samples = self._bank.samples[index]
        time = round(self._training.segment_s * self._bank.sample_rate)
        longest = 2 * time
        if samples.shape[0] > longest:
            start = int(rng.integers(0, samples.shape[0] - longest))
            samples = samples[start : start + longest]
        wave = place(vary(samples.astype(np.float32) / 32768.0, rng), time, rng, repeat_share=0.5)
        target = np.zeros(len(self._class_ids), dtype=np.float32)
        target[[self._class_ids[label] for label in self._bank.clips[index].labels]] = 1.0
        return wave, target
