"""Scenes for the detector: clips laid into silence or noise, so that it is known when which class sounds.

Half of the items stand in pairs: two recordings of one class and, where there are, of two origins, each the loudest
sound of its item. The others have up to four sounds of any level.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from querysep.anchors.relations import relations_of
from querysep.data.recordings import Recordings
from querysep.dsp.mixing import Bed, Beds, Playback, render, sounding_frame, sounding_power
from querysep.training.augmentations import Augmentation
from querysep.training.config import DetectorTraining
from querysep.training.sampler import draw_bed
from querysep.training.weak_clips import ClipDraw

MOST_SOUNDS = 4
_SILENT = 1e-4
_LEVEL_DB, _SECOND_DB, _OTHERS_DB = (-45.0, -15.0), (-15.0, -5.0), (-10.0, 10.0)
_QUIET_DB = 40.0  # below the loudest frame of a sound: it does not sound there
_GAP_S = 0.4  # shorter silences belong to the sound
_LONGER = 1.3  # times an item's length of a clip that may be needed, as sounds are played faster


class SceneBatch(NamedTuple):
    """Items with the sounds that they need; the mixer renders it where the network is.

    Attributes:
        sounds: clips as they were recorded, shape (row, time), int16.
        playback: of each row.
        slots: item times 4 plus place, of each row, shape (row,).
        levels_db: of each place against the first, while it sounds, shape (batch, 4).
        level_db: of the first over full scale, while it sounds, shape (batch,).
        beds: steady noise under some of the items.
        labels: of each row, shape (row, class): 1 what it carries, NaN what may be meant by it, else 0.
        group: class of the loudest sound of an item, -1 where none is; shape (batch,).
        origin: of that sound, shape (batch,).
        cutoff_hz: highest frequency that is left, shape (batch,).
        time: samples of an item.
        sample_rate: Hz.
    """

    sounds: Tensor
    playback: Playback
    slots: Tensor
    levels_db: Tensor
    level_db: Tensor
    beds: Beds
    labels: Tensor
    group: Tensor
    origin: Tensor
    cutoff_hz: Tensor
    time: int
    sample_rate: int

    def scenes(self, frame_time: int) -> tuple[Tensor, Tensor]:
        """Render the items.

        Args:
            frame_time: samples of a frame.

        Returns:
            Waves, shape (batch, time), and what sounds in each frame, shape (batch, frame, class): 1, 0, or NaN where
            that is not known.
        """
        waves = render(self.sounds, self.playback, self.time, self.sample_rate)
        sounding = sounding_frames(waves, frame_time, self.sample_rate)
        frame = sounding_frame(self.sample_rate)
        level = sounding_power(waves, frame).sqrt().clamp(min=_SILENT)
        items = self.slots // MOST_SOUNDS
        wanted_db = self.level_db[items] + self.levels_db.flatten()[self.slots]
        waves = waves * (torch.pow(10.0, wanted_db / 20.0) / level)[:, None]
        mixed = waves.new_zeros(len(self.level_db), self.time).index_add_(0, items, waves)
        active = torch.where(sounding[:, :, None], self.labels[:, None], 0.0)
        unknown = mixed.new_zeros(len(mixed), active.shape[1], active.shape[2])
        there = unknown.clone()
        there.index_add_(0, items, active.nan_to_num(0.0))
        unknown.index_add_(0, items, active.isnan().float())
        truth = torch.where(there > 0, 1.0, torch.where(unknown > 0, torch.nan, 0.0))
        return mixed + self.beds.under(mixed, frame), truth


def sounding_frames(waves: Tensor, frame_time: int, sample_rate: int) -> Tensor:
    """Tell in which frames sounds are heard.

    Args:
        waves: shape (row, time).
        frame_time: samples of a frame; a last, shorter frame counts.
        sample_rate: Hz.

    Returns:
        Shape (row, frame), bool: not more than 40 dB below the loudest frame, and gaps of up to 0.4 s.
    """
    frames = -(-waves.shape[1] // frame_time)
    padded = functional.pad(waves, (0, frames * frame_time - waves.shape[1]))
    power = padded.square().reshape(len(waves), frames, frame_time).mean(dim=2)
    loud = (power >= power.amax(dim=1, keepdim=True) * 10.0 ** (-_QUIET_DB / 10.0)) & (power > _SILENT**2 / 100)
    reach = max(1, round(_GAP_S * sample_rate / frame_time / 2))
    image = functional.pad(loud.float()[:, None], (2 * reach, 2 * reach))
    widened = functional.max_pool1d(image, 2 * reach + 1, stride=1)
    inner = -functional.max_pool1d(-widened, 2 * reach + 1, stride=1)
    closed: Tensor = inner[:, 0] > 0.5
    return closed


class SceneClips:
    """Batches of scenes; item i is the same in every run with one seed.

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
        self._clips, self._training = ClipDraw(recordings, members, training, _LONGER, augment), training
        self.classes, self._count = self._clips.classes, len(labels)
        origins: dict[str, int] = {}
        self._origins = np.array([origins.setdefault(clip.origin, len(origins)) for clip in recordings.clips])
        self._rows = self._label_rows(recordings, members, labels)

    @staticmethod
    def _label_rows(
        recordings: Recordings, members: Sequence[int], labels: Sequence[str]
    ) -> dict[tuple[str, ...], Tensor]:
        relations = relations_of(recordings.clips[index].labels for index in members)
        rows = {}
        for carried in {recordings.clips[index].labels for index in members}:
            row = torch.zeros(len(labels))
            for place, label in enumerate(labels):
                if label in carried:
                    row[place] = 1.0
                elif any(relations.related(label, one) for one in carried):
                    row[place] = torch.nan
            rows[carried] = row
        return rows

    def batch(self, indices: Sequence[int]) -> SceneBatch:
        """Return the items of some indices; there is no end of them.

        Raises:
            DataError: the sound cannot be read.
        """
        count = len(indices)
        levels_db, level_db = torch.zeros(count, MOST_SOUNDS), torch.zeros(count)
        group, origin = torch.full((count,), -1), torch.full((count,), -1)
        cutoff_hz = torch.full((count,), torch.inf)
        sounds, plays, slots, labels = [], [], [], []
        beds: list[Bed | None] = []
        training = self._training
        for row, index in enumerate(indices):
            pair = np.random.default_rng([training.seed, 1, index // 2])
            rng = np.random.default_rng([training.seed, 1, index // 2, 1 + index % 2])
            is_scene = pair.random() < training.scene_share
            if is_scene:
                chosen = [self._clips.clip(rng) for _ in range(rng.integers(0, MOST_SOUNDS + 1))]
            else:
                number, both = self._draw_two(pair)
                chosen = [both[index % 2], *(self._clips.clip(rng) for _ in range(rng.random() < training.mix_share))]
                group[row], origin[row] = number, int(self._origins[chosen[0]])
            level_db[row] = rng.uniform(*_LEVEL_DB)
            for place, clip in enumerate(chosen):
                sound, play = self._clips.sound(clip, rng)
                sounds.append(sound)
                plays.append(play)
                slots.append(MOST_SOUNDS * row + place)
                labels.append(self._rows[self._clips.recordings.clips[clip].labels])
                if place:
                    levels_db[row, place] = rng.uniform(*(_OTHERS_DB if is_scene else _SECOND_DB))
            has_bed = rng.random() < training.bed_share or not chosen
            beds.append(draw_bed(rng, (-5.0, 25.0) if is_scene else (5.0, 30.0)) if has_bed else None)
            if rng.random() < training.band_share:
                cutoff_hz[row] = float(rng.choice([2_000.0, 4_000.0, 5_500.0]))
        return SceneBatch(
            torch.stack(sounds) if sounds else torch.zeros(0, self._clips.longest, dtype=torch.int16),
            Playback.of(plays),
            torch.tensor(slots, dtype=torch.int64),
            levels_db,
            level_db,
            Beds.of(beds),
            torch.stack(labels) if labels else torch.zeros(0, self._count),
            group,
            origin,
            cutoff_hz,
            self._clips.time,
            self._clips.recordings.sample_rate,
        )

    def _draw_two(self, rng: np.random.Generator) -> tuple[int, tuple[int, int]]:
        """Draw a class, and two clips of it, of different origins where there are such."""
        number = self._clips.number(rng)
        members = self._clips.members[number]
        first = int(rng.choice(members))
        others = members[self._origins[members] != self._origins[first]]
        second = int(rng.choice(others if len(others) else members))
        return number, (first, second)
