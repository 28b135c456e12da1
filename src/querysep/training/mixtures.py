"""Planned mixtures as batches: what is needed to render them, and what each query should get."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.anchors.catalog import Catalog
from querysep.anchors.relations import AnchorRelations
from querysep.dsp.mixing import Beds, Playback, Recorders, balance, render, sounding_frame
from querysep.io.lossy import lossy
from querysep.training.config import SeparatorTraining
from querysep.training.sampler import SAMPLERS, MixtureSampler, Plan

_FEW = 8  # mixtures
_VALIDATION = {"mixing": "paper", "own_query_share": 0.0, "absent_share": 0.0, "queries": 1}


class MixtureBatch(NamedTuple):
    """Plans with the sounds that they need; the mixer renders it where the network is.

    Attributes:
        sounds: the anchors as they were recorded or coded, shape (row, time), int16.
        playback: of each row.
        slots: which sound of which mixture each row is, shape (row,); a sound may have two rows.
        levels_db: shape (batch, source).
        beds: steady noise under some of the mixtures; None where the settings have none.
        conditions: shape (batch, 2, condition_dim).
        wanted: shape (batch, 2), 1 where the query's class is in the mixture, 0 where silence is the answer.
        anchors: what the two queries are of, then what was mixed, shape (batch, 2 + source), -1 where nothing is.
        time: samples of a mixture.
        sample_rate: Hz.
        recorders: what the mixtures are recorded with; None where the settings leave them as they are.
        are_scenes: levels are those of sounds while they are there, not over the whole length.
    """

    sounds: Tensor
    playback: Playback
    slots: Tensor
    levels_db: Tensor
    beds: Beds | None
    conditions: Tensor
    wanted: Tensor
    anchors: Tensor
    time: int
    sample_rate: int
    recorders: Recorders | None = None
    are_scenes: bool = False

    def segments(self) -> Tensor:
        """Render the sounds of each mixture, shape (batch, source, time); their sums are the mixtures.

        The first two are asked for. Where there are beds or recorders, the last source is what nobody asks for: the
        noise of the beds, and what clipping adds.
        """
        waves = render(self.sounds, self.playback, self.time, self.sample_rate)
        frame = sounding_frame(self.sample_rate) if self.are_scenes else None
        segments = balance(waves, self.slots, self.levels_db, frame)
        if self.beds is None and self.recorders is None:
            return segments
        mixtures = segments.sum(dim=1)
        noise = torch.zeros_like(mixtures) if self.beds is None else self.beds.under(mixtures, frame)
        segments = torch.cat((segments, noise[:, None]), dim=1)
        return segments if self.recorders is None else self.recorders.record(segments)


class Mixtures:
    """Batches of mixtures for the separator.

    Args:
        sampler: plans them.
    """

    def __init__(self, sampler: MixtureSampler) -> None:
        self._sampler = sampler

    def first(self, count: int) -> list[MixtureBatch]:
        """Return the first mixtures in batches of eight: to render all of them at once would take gigabytes."""
        return [self.batch(range(start, min(count, start + _FEW))) for start in range(0, count, _FEW)]

    def batch(self, indices: Sequence[int]) -> MixtureBatch:
        """Return the mixtures of some indices of one step; of scenes only as many as are as long together as pairs.

        Raises:
            DataError: the sound cannot be read, or nearly all classes are related.
            AudioError: a codec is missing.
        """
        sampler, training = self._sampler, self._sampler.training
        are_scenes = sampler.is_scene(indices[0])
        plans = [sampler.plan(index) for index in (self._fewer(indices) if are_scenes else indices)]
        sources = len(training.scene_events) if are_scenes else 1 + len(training.source_shares)
        anchors = torch.full((len(plans), 2 + sources), -1)
        levels_db = torch.zeros(len(plans), sources)
        slots, parts = [], []
        for row, plan in enumerate(plans):
            mixed = len(plan.anchors)
            anchors[row, : 2 + mixed] = torch.tensor([*plan.queried, *plan.anchors])
            levels_db[row, :mixed] = torch.tensor(plan.levels_db)
            for source, play in enumerate(plan.plays):
                for part in play.parts():
                    slots.append(row * sources + source)
                    parts.append(part)
        return MixtureBatch(
            torch.from_numpy(self._sounds(plans)),
            Playback.of(parts),
            torch.tensor(slots, dtype=torch.int64),
            levels_db,
            Beds.of([plan.bed for plan in plans]) if are_scenes or training.bed_share else None,
            torch.from_numpy(np.stack([plan.conditions for plan in plans])),
            torch.from_numpy(np.stack([plan.wanted for plan in plans])),
            anchors,
            sampler.scene_time if are_scenes else sampler.time,
            sampler.catalog.sample_rate,
            Recorders.of([plan.recorder for plan in plans])
            if training.clipping_share or training.band_limit_share
            else None,
            are_scenes,
        )

    def _fewer(self, indices: Sequence[int]) -> list[int]:
        """Return which of some items of a step are made where they are scenes; the same for any number of processes.

        That holds where each process has a multiple of the pairs that are as long as a scene; each has one at least.
        """
        sampler = self._sampler
        pairs = max(1, round(sampler.scene_time / sampler.time))
        return [one for one in indices if one % sampler.training.batch_size % pairs == 0] or list(indices[:1])

    def _sounds(self, plans: Sequence[Plan]) -> NDArray[np.int16]:
        """Return the sound of each part of each plan's plays, coded where the plan says so, shape (row, time)."""
        catalog = self._sampler.catalog
        sounds = catalog.audio([anchor for plan in plans for anchor in plan.anchors])
        codings = [coding for plan in plans for coding in plan.codings or [None] * len(plan.anchors)]
        for row, coding in enumerate(codings):
            if coding is not None:
                sounds[row] = lossy(sounds[row], catalog.sample_rate, *coding)
        return sounds.repeat([len(play.parts()) for plan in plans for play in plan.plays], axis=0)


def validation_mixtures(
    catalog: Catalog, count: int, seed: int, training: SeparatorTraining | None = None
) -> list[MixtureBatch]:
    """Return fixed mixtures of the anchors on the validation side, see ``Mixtures.first``.

    Args:
        catalog: anchors, some of them of the split ``validation``.
        count: of mixtures.
        seed: draws them.
        training: how to mix; by default two segments of equal energy, asked for by other recordings of their class.

    Raises:
        DataError: too few classes on the validation side.
    """
    settings = training or SeparatorTraining.model_validate(_VALIDATION)
    settings = settings.model_copy(update={"seed": seed, "scene_share": 0.0})
    return Mixtures(SAMPLERS[settings.mixing](catalog, settings, "validation", None)).first(count)


def queries_present(anchors: Tensor, wanted: Tensor, relations: AnchorRelations) -> Tensor:
    """Tell which query of a batch is in which of its mixtures.

    Args:
        anchors: what is asked for and what was mixed, see ``MixtureBatch``, shape (batch, 2 + source).
        wanted: shape (batch, 2).
        relations: tells which anchors may be mixed.

    Returns:
        Shape (batch, 2 * batch): 1 where it is there, 0 where it is not, NaN where that is not known.
    """
    mixed = anchors[:, 2:]
    apart = relations.table(anchors[:, :2].flatten(), mixed.clamp(min=0).flatten()).reshape(-1, *mixed.shape)
    apart = (apart | (mixed < 0)).all(dim=2).T
    known = torch.where(apart, 0.0, torch.nan)
    own = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device).repeat_interleave(2, dim=1)
    return torch.where(own, wanted.flatten()[None], known)
