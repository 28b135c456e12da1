"""The teacher scores each item once; what it said comes round, in another order and varied."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.detection.yamnet import Lesson as Scored
from querysep.dsp.mixing import Play, Playback
from querysep.errors import ConfigError
from querysep.progress import silent
from querysep.training.config import DetectorTraining
from querysep.training.detector import DetectorModule, _shared_labels
from querysep.training.lessons import Lesson, Lessons, teach
from querysep.training.weak_clips import WeakBatch

CONFIG = HtsatConfig(n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, classes=3)


class Tones:
    """Item i is noise of level i; counts how many items were drawn."""

    drawn = 0

    def batch(self, indices: Sequence[int]) -> WeakBatch:
        Tones.drawn += len(indices)
        rows = len(indices)
        waves = np.stack([np.random.default_rng(index).standard_normal(8_000) for index in indices])
        labels = torch.nn.functional.one_hot(torch.tensor(indices) % 3, 3).float()
        levels_db = torch.zeros(rows, 2)
        levels_db[:, 0] = 20.0 * torch.log10(0.001 * (torch.tensor(indices) + 1.0))
        sounds = torch.from_numpy((waves * 5_000).astype(np.int16))
        return WeakBatch(
            sounds, Playback.of([Play(8_000)] * rows), torch.arange(rows) * 2, levels_db, labels, 8_000, 32_000
        )


class Teacher(nn.Module):
    """Says the energy, and embeds by the first values."""

    names = ("a", "b")
    latent_dim = 4

    def __init__(self, fail_after: int = 1_000) -> None:
        super().__init__()
        self.left = fail_after

    def forward(self, wave: Tensor) -> Scored:
        if self.left <= 0:
            raise InterruptedError
        self.left -= 1
        level = wave.square().mean(dim=1, keepdim=True).sqrt()
        return Scored(level.repeat(1, 2), wave[:, :4].abs())


def _teach(folder: Path, teacher: Teacher, items: int = 40) -> Lessons:
    network = Htsat(CONFIG).eval()
    training = DetectorTraining(teacher_items=items)
    return teach(Tones(), network, teacher, training, folder, silent)  # type: ignore[arg-type]


def test_a_round_has_every_lesson_once_and_rounds_differ(tmp_path: Path) -> None:
    lessons = _teach(tmp_path, Teacher())
    rounds = [lessons.batch(range(first, first + 40)) for first in (0, 40)]
    levels = [[round(float(scores[0]), 4) for scores in one.scores] for one in rounds]
    assert sorted(levels[0]) == sorted(levels[1]) and levels[0] != levels[1]
    assert len(set(levels[0])) == 40
    item = lessons.batch([7])
    assert item.spectrogram.shape == (1, 16, 26) and item.labels.sum() == 1
    assert item.scores.shape == (1, 2) and item.latents.shape == (1, 4)
    for one, again in zip(item, _teach(tmp_path, Teacher(0)).batch([7]), strict=True):
        torch.testing.assert_close(one, again, rtol=0, atol=0)
    with pytest.raises(ConfigError, match="other items"):
        _teach(tmp_path, Teacher(), items=41)


def test_answers_belong_to_their_sounds(tmp_path: Path) -> None:
    lessons = _teach(tmp_path, Teacher())
    for spectrogram, labels, scores, _ in zip(*lessons.batch(range(40)), strict=True):
        number = round(float(scores[0]) / 0.001) - 1
        assert int(labels.argmax()) == number % 3
        # the level of noise, give or take the variation of level and color
        plain = Htsat(CONFIG).log_mel(Tones().batch([number]).waves())[0].mean()
        assert abs(float(spectrogram.mean() - plain)) < 11


def test_scoring_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        _teach(tmp_path / "cut", Teacher(fail_after=52), items=64 * 32)
    Tones.drawn = 0
    cut = _teach(tmp_path / "cut", Teacher(), items=64 * 32)
    assert Tones.drawn == 1 + 14 * 32  # fifty batches were kept
    whole = _teach(tmp_path / "whole", Teacher(), items=64 * 32)
    for one, other in zip(cut.batch([0, 1_000, 2_000]), whole.batch([0, 1_000, 2_000]), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_latents_learn_to_be_as_alike_as_labels_and_teacher_say() -> None:
    torch.manual_seed(0)
    labels = torch.eye(3).repeat_interleave(4, dim=0)
    spectrograms = labels.repeat_interleave(6, dim=1)[:, :16, None].repeat(1, 1, 26)  # each class has bands of its own
    spectrograms = torch.nn.functional.pad(spectrograms, (0, 0, 0, 16 - spectrograms.shape[1])) * 40 - 60
    batch = Lesson(spectrograms, labels, torch.full((12, 2), 0.5), torch.cat((labels, labels[:, :1]), dim=1))
    module = DetectorModule(Htsat(CONFIG), DetectorTraining(), Teacher())  # type: ignore[arg-type]
    module.log = lambda *_: None  # type: ignore[method-assign]
    optimizer = torch.optim.Adam([p for part in module.learners() for p in part.parameters()], 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        module.batch_loss(batch).backward()
        optimizer.step()
    latent = module.network.eval().classify(spectrograms).latent
    unit = torch.nn.functional.normalize(latent, dim=1)
    likeness = (unit @ unit.T).detach()
    same = labels @ labels.T > 0
    assert likeness[same].min() > likeness[~same].max() + 0.3


def test_shared_labels_are_counted_over_all_labels() -> None:
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    expected = torch.tensor([[1.0, 1 / 3, 0.0], [1 / 3, 1.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(_shared_labels(labels), expected)


def test_at_first_all_that_the_teacher_may_say_is_rare_and_moves_no_latents() -> None:
    """Else all latents run one way until the biases have come down, and a trained detector forgets what it knew."""
    module = DetectorModule(Htsat(CONFIG), DetectorTraining(), Teacher())  # type: ignore[arg-type]
    latent = torch.randn(5, CONFIG.latent_dim, requires_grad=True)
    said = module.score_head(latent).sigmoid()
    assert float(said.detach().min()) > 0.001 and float(said.detach().max()) < 0.01
    said.sum().backward()
    assert latent.grad is not None and not latent.grad.any()
