"""Scenes: batches of longer mixtures, with sounds now and then over a bed, and what all mixtures are recorded with."""

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from given import segments_of
from toy_catalog import TIME, toy_catalog

from querysep.anchors.catalog import Catalog
from querysep.dsp.mixing import sounding_frame, sounding_power
from querysep.separation.build import build_separator
from querysep.separation.config import CompactConfig
from querysep.training.batches import Crowd, item_loader
from querysep.training.config import SeparatorTraining
from querysep.training.mixtures import MixtureBatch, Mixtures, validation_mixtures
from querysep.training.sampler import MixtureSampler, Plan
from querysep.training.separator import SeparatorModule

RATE = 32_000
SCENE_S = 8 * TIME / RATE
ALL = {"scene_share": 1.0, "scene_s": SCENE_S, "bed_classes": ("Rain", "Whale vocalization")}


def _sampler(**settings: Any) -> MixtureSampler:
    return MixtureSampler(toy_catalog(), SeparatorTraining.model_validate(ALL | settings))


def _plans(sampler: MixtureSampler, count: int) -> list[Plan]:
    return [sampler.plan(index) for index in range(count)]


def _label(catalog: Catalog, index: int) -> str:
    return catalog.anchors[index].label


def _scenes(sampler: MixtureSampler, count: int) -> list[tuple[Plan, torch.Tensor]]:
    """Return plans of scenes, each with its segments."""
    mixtures = Mixtures(sampler)
    return [(sampler.plan(index), mixtures.batch([index]).segments()[0]) for index in range(count)]


def test_whole_steps_are_scenes_and_as_long_together_as_pairs() -> None:
    training = SeparatorTraining(scene_share=0.4, scene_s=SCENE_S, batch_size=24, steps=60, workers=0)
    mixtures = Mixtures(MixtureSampler(toy_catalog(), training))
    batches = list(item_loader(mixtures, 0, training))
    kinds = [batch.are_scenes for batch in batches]
    assert np.mean(kinds) == pytest.approx(0.4, abs=0.15)
    for batch in batches:
        count, time = (3, 8 * TIME) if batch.are_scenes else (24, TIME)
        assert batch.segments().shape == (count, 6 if batch.are_scenes else 4, time)
        assert batch.conditions.shape[0] == batch.wanted.shape[0] == batch.anchors.shape[0] == count
    later = next(iter(item_loader(mixtures, kinds.index(True), training)))  # as a run that goes on
    assert later.are_scenes and torch.equal(later.anchors, batches[kinds.index(True)].anchors)
    parts = [next(iter(item_loader(mixtures, kinds.index(True), training, Crowd(rank, 3, 3)))) for rank in range(3)]
    assert torch.equal(torch.cat([part.anchors for part in parts]), later.anchors)
    many = [next(iter(item_loader(mixtures, kinds.index(True), training, Crowd(rank, 24, 24)))) for rank in range(24)]
    assert all(len(part.anchors) == 1 and part.are_scenes for part in many)


def test_without_scenes_and_degradations_mixtures_are_what_they_were() -> None:
    batch = Mixtures(MixtureSampler(toy_catalog(), SeparatorTraining())).batch(range(6))
    assert batch.recorders is None and batch.beds is None and not batch.are_scenes
    catalog = toy_catalog("validation")
    (plain,) = validation_mixtures(catalog, 4, seed=3, training=SeparatorTraining())
    (same,) = validation_mixtures(catalog, 4, seed=3, training=SeparatorTraining(scene_share=1.0))
    assert torch.equal(plain.segments(), same.segments())


def test_a_scene_of_a_seed_and_an_index_is_always_the_same() -> None:
    settings = {"clipping_share": 0.5, "band_limit_share": 0.5, "codec_share": 0.3}
    one, other = (Mixtures(_sampler(**settings)) for _ in range(2))
    whole, again = one.batch([0, 8]), other.batch([8])
    torch.testing.assert_close(again.segments()[0], whole.segments()[1], rtol=1e-4, atol=1e-5)
    assert torch.equal(again.conditions[0], whole.conditions[1]) and torch.equal(again.anchors[0], whole.anchors[1])


def test_scenes_have_as_many_sounds_as_asked_for_nearly_always_over_a_bed() -> None:
    sampler = _sampler(scene_events=(1, 1, 1, 1, 1), hum_share=0.0)
    counts: Counter[int] = Counter()
    bare = recorded = 0
    for plan, segments in _scenes(sampler, 150):
        labels = [_label(sampler.catalog, one) for one in plan.anchors]
        looped = [number for number, play in enumerate(plan.plays) if len(play.parts()) == 2]
        assert len(looped) <= 1 and all(labels[number] == "Rain" for number in looped)
        counts[len(labels) - len(looped)] += 1
        recorded += len(looped)
        bare += not looped and plan.bed is None
        assert not (looped and plan.bed) and (plan.bed is None) == (not segments[5].any())
        if looped:
            frames = segments[looped[0]].unfold(0, 400, 400).square().mean(dim=1)
            assert float(frames.min() / frames.max()) > 0.3  # there all the time
        for place, first in enumerate(plan.anchors):
            assert all(sampler.relations.unrelated(first, second) for second in plan.anchors[place + 1 :])
    assert set(counts) == {0, 1, 2, 3, 4} and min(counts.values()) > 15
    assert 0.33 < recorded / 150 < 0.57 and 0.01 < bare / 150 < 0.16


def test_sounds_of_scenes_are_from_a_tenth_of_a_second_long_anywhere_and_repeated_or_not() -> None:
    settings = {"scene_events": (0, 0, 0, 1, 0), "speed_share": 0.0, "recorded_bed_share": 0.0, "repeat_share": 0.5}
    plans = _plans(_sampler(**settings), 200)
    plays = [play for plan in plans for play in plan.plays]
    lengths = np.array([play.length for play in plays])
    assert 3_200 <= lengths.min() < 3_300 and lengths.max() == TIME
    assert 0.3 < np.mean(lengths == TIME) < 0.5
    starts = np.array([play.start for play in plays if not play.period])
    assert 0 <= starts.min() < TIME and starts.max() > 6 * TIME
    repeated = [play for play in plays if play.period]
    assert len(repeated) / len(plays) == pytest.approx(0.5, abs=0.1)
    assert {play.times for play in repeated} == {0, 2, 3, 4, 6}
    assert all(play.period > play.length and play.fade > 1 for play in repeated)


def test_a_short_sound_is_as_loud_as_a_long_one() -> None:
    settings = {"scene_events": (0, 0, 1, 0, 0), "gain_db": 0.0, "recorded_bed_share": 0.0, "room_share": 0.0}
    found = []
    for _, segments in _scenes(_sampler(**settings), 60):
        powers = sounding_power(segments[:2], sounding_frame(RATE))
        assert float(powers[0] / powers[1]) == pytest.approx(1.0, rel=1e-3)
        found.append(float(segments[0].square().mean() / segments[1].square().mean()))
    assert max(found) > 2 and min(found) < 0.5  # over the whole length they differ


def test_what_is_far_is_reverberant_and_soft() -> None:
    settings = {"scene_events": (0, 0, 1, 0, 0), "gain_db": 0.0, "recorded_bed_share": 0.0, "room_share": 0.5}
    soft, deep = [], []
    for plan in _plans(_sampler(**settings), 200):
        if plan.plays[0].room is None and plan.plays[1].room is not None:
            soft.append(plan.levels_db[1])
            deep.append(plan.plays[1].room.level_db)
    assert len(soft) > 20 and np.corrcoef(soft, deep)[0, 1] < -0.8
    assert max(soft) < 0 and -12.1 < min(soft) < -6


def test_a_recorded_bed_is_at_the_levels_asked_for_against_the_sounds_over_it() -> None:
    settings = {"scene_events": (0, 1, 0, 0, 0), "recorded_bed_share": 1.0, "hum_share": 0.0, "gain_db": 0.0}
    levels_db = []
    for plan, segments in _scenes(_sampler(**settings), 80):
        beds = [number for number, play in enumerate(plan.plays) if len(play.parts()) == 2]
        if beds and len(plan.anchors) == 2:
            powers_db = 10.0 * torch.log10(sounding_power(segments[:2], sounding_frame(RATE)))
            levels_db.append(float(powers_db[1 - beds[0]] - powers_db[beds[0]]))
    assert len(levels_db) > 50 and -5.1 < min(levels_db) < 0 and 20 < max(levels_db) < 25.1


def test_a_recorded_bed_is_asked_for_as_often_as_told_and_else_only_in_the_way() -> None:
    sampler = _sampler(recorded_bed_share=1.0, bed_query_share=0.5, hum_share=0.0, absent_share=0.0)
    asked = events = 0
    for plan in _plans(sampler, 300):
        beds = [number for number, play in enumerate(plan.plays) if len(play.parts()) == 2]
        if not beds:
            continue
        events += 1
        (bed,) = beds
        if bed < 2 and plan.wanted[bed]:
            asked += 1
            assert plan.queried[bed] == plan.anchors[bed]
        else:
            assert bed == len(plan.anchors) - 1
        for place in range(2):
            if plan.wanted[place]:
                assert plan.queried[place] == plan.anchors[place]
            else:
                assert all(sampler.relations.unrelated(plan.queried[place], other) for other in plan.anchors)
    assert events > 200 and asked / events == pytest.approx(0.5, abs=0.1)


def test_a_bed_alone_is_asked_for_in_vain_unless_it_is_asked_for_itself() -> None:
    sampler = _sampler(scene_events=(1, 0, 0, 0, 0), bed_query_share=0.5)
    wanted: Counter[tuple[int, int]] = Counter()
    for plan, segments in _scenes(sampler, 80):
        assert len(plan.anchors) <= 1 and segments.any() and plan.wanted[1] == 0
        assert plan.wanted[0] in (0, len(plan.anchors))
        wanted[len(plan.anchors), int(plan.wanted[0])] += 1
    assert set(wanted) == {(0, 0), (1, 0), (1, 1)}
    bare = Mixtures(_sampler(scene_events=(1, 0, 0, 0, 0), recorded_bed_share=0.0)).batch([0])
    assert len(bare.sounds) == 0
    assert float(bare.segments()[0, -1].square().mean().sqrt()) > 1e-3 and not bare.segments()[0, :-1].any()


def test_over_noise_nothing_like_noise_is_asked_for_in_vain() -> None:
    def named(catalog: Catalog) -> Catalog:
        anchors = [
            one.model_copy(update={"label": "White noise", "labels": ("White noise",), "heard": ("White noise",)})
            if one.label == "Bell"
            else one
            for one in catalog.anchors
        ]
        return Catalog(anchors, catalog.latents, catalog.audio(range(len(anchors))), catalog.facts)

    catalog = named(toy_catalog())
    settings = ALL | {"scene_events": (1, 1, 0, 0, 0), "hum_share": 0.0}
    sampler = MixtureSampler(catalog, SeparatorTraining.model_validate(settings))
    absent: Counter[tuple[bool, str]] = Counter()
    for plan in _plans(sampler, 300):
        for place in range(2):
            if not plan.wanted[place]:
                absent[plan.bed is not None, _label(catalog, plan.queried[place])] += 1
    assert not absent[True, "White noise"] and absent[False, "White noise"] > 3 and absent[True, "Car"] > 3


def test_some_beds_hum() -> None:
    plans = _plans(_sampler(hum_share=0.3), 300)
    humming = [plan.bed for plan in plans if plan.bed is not None and plan.bed.hum]
    assert len(humming) / 300 == pytest.approx(0.3 * 0.91, abs=0.08)
    assert {round(bed.hum * RATE / 2) for bed in humming} == {50, 60}


def _recorded(sampler: MixtureSampler, indices: range) -> tuple[MixtureBatch, torch.Tensor, torch.Tensor]:
    """Return a batch, its segments, and what they were before they were recorded."""
    batch = Mixtures(sampler).batch(indices)
    return batch, batch.segments(), batch._replace(recorders=None).segments()


@pytest.mark.parametrize("scene_share", [0.0, 1.0])
def test_clipping_is_in_the_mixture_and_not_in_what_is_asked_for(scene_share: float) -> None:
    sampler = _sampler(scene_share=scene_share, clipping_share=0.5, batch_size=100)
    batch, recorded, clean = _recorded(sampler, range(100))
    assert batch.recorders is not None
    clamped = set(batch.recorders.clamped.tolist())
    assert 0.2 < len(clamped) / len(recorded) < 0.8
    assert recorded.shape[1] == clean.shape[1] + (batch.beds is None)
    assert torch.equal(recorded[:, :-1], clean[:, : recorded.shape[1] - 1])
    for row, (mixture, before) in enumerate(zip(recorded.sum(dim=1), clean.sum(dim=1), strict=True)):
        peaks = [float(one.abs().max()) for one in (mixture, before)]
        if row in clamped:
            assert 0.09 < peaks[0] / peaks[1] < 0.71
            inside = before.abs() < 0.99 * peaks[0]
            torch.testing.assert_close(mixture[inside], before[inside], rtol=0, atol=1e-5)
        else:
            assert peaks[0] == pytest.approx(peaks[1])


def test_a_band_limit_takes_the_same_from_all_sounds() -> None:
    sampler = _sampler(scene_share=0.0, band_limit_share=0.6, bed_share=1.0)
    batch, recorded, clean = _recorded(sampler, range(100))
    assert batch.recorders is not None
    limits = dict(zip(batch.recorders.limited.tolist(), batch.recorders.band_limit.tolist(), strict=True))
    assert len(limits) / 100 == pytest.approx(0.6, abs=0.15)
    assert {round(limit * RATE / 2) for limit in limits.values()} == {4_000, 8_000, 11_000}
    frequencies = np.fft.rfftfreq(TIME, 1 / RATE)
    for row, (sources, before) in enumerate(zip(recorded, clean, strict=True)):
        if row not in limits:
            assert torch.equal(sources, before)
            continue
        cut = limits[row] * RATE / 2
        window = np.hanning(TIME)
        for one, other in zip(sources, before, strict=True):
            power, was = (np.abs(np.fft.rfft(each.numpy() * window)) ** 2 for each in (one, other))
            assert power[frequencies > 1.05 * cut].sum() <= 1e-4 * was.sum()
            below = frequencies < 0.9 * cut
            np.testing.assert_allclose(power[below].sum(), was[below].sum(), rtol=1e-2, atol=1e-12)


def test_so_many_sounds_as_asked_for_are_coded() -> None:
    plans = _plans(_sampler(scene_share=0.0, codec_share=0.3), 200)
    codings = [coding for plan in plans for coding in plan.codings]
    assert len(codings) == sum(len(plan.anchors) for plan in plans)
    coded = [coding for coding in codings if coding is not None]
    assert len(coded) / len(codings) == pytest.approx(0.3, abs=0.06)
    assert {codec for codec, _ in coded} == {"MP3", "OGG"}
    sampler = _sampler(scene_share=0.0, codec_share=0.3)
    batch = Mixtures(sampler).batch(range(12))
    recorded = sampler.catalog.audio([one for plan in plans[:12] for one in plan.anchors])
    changed = (batch.sounds.numpy() != recorded).any(axis=1)
    assert changed.tolist() == [coding is not None for plan in plans[:12] for coding in plan.codings]


def test_scenes_and_degradations_train() -> None:
    torch.manual_seed(0)
    settings = {"clipping_share": 0.5, "band_limit_share": 0.5, "codec_share": 0.2, "scene_s": 1.0, "batch_size": 24}
    sampler = _sampler(**settings)
    network = build_separator(CompactConfig(channels=(8, 16), condition_dim=8, condition_hidden=8, presence_dim=4))
    module = SeparatorModule(network, sampler.training, relations=sampler.relations)
    batch = Mixtures(sampler).batch(range(24))
    loss = module.batch_loss(batch)
    loss.backward()
    assert torch.isfinite(loss) and all(
        bool(torch.isfinite(one.grad).all()) for one in network.parameters() if one.grad is not None
    )


def test_shares_of_scenes_are_checked() -> None:
    with pytest.raises(ValueError, match="five shares"):
        SeparatorTraining(scene_events=(0, 0, 0, 0, 0))


def test_a_catalog_without_bed_classes_has_beds_of_noise() -> None:
    sampler = _sampler(bed_classes=("Whale vocalization",), recorded_bed_share=1.0, scene_events=(1, 0, 0, 0, 0))
    assert all(plan.bed is not None and not plan.anchors for plan in _plans(sampler, 20))
    assert segments_of(sampler, 1).shape == (1, 6, 8 * TIME)
