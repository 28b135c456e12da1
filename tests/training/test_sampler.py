"""What is mixed with what, how loud, and what is asked."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from given import given, segments_of
from numpy.typing import NDArray
from torch import Tensor
from toy_catalog import DIM, TIME, toy_catalog

from querysep.anchors.catalog import Anchor, Catalog
from querysep.dsp.mixing import Play
from querysep.dsp.stft import stft
from querysep.errors import DataError
from querysep.separation.build import build_separator
from querysep.separation.compact import CompactUnet
from querysep.separation.config import CompactConfig
from querysep.training.augmentations import only_place
from querysep.training.config import SeparatorTraining, TrainingConfig
from querysep.training.mixtures import Mixtures, validation_mixtures
from querysep.training.sampler import SAMPLERS, MixtureSampler, Plan, class_weights
from querysep.training.separator import SeparatorModule


def _plans(sampler: MixtureSampler, count: int) -> list[Plan]:
    return [sampler.plan(index) for index in range(count)]


def _mixes(training: SeparatorTraining, count: int = 300) -> list[list[Anchor]]:
    """Return the anchors of mixtures."""
    sampler = MixtureSampler(toy_catalog(), training)
    return [[sampler.catalog.anchors[one] for one in plan.anchors] for plan in _plans(sampler, count)]


def test_no_class_meets_its_like_in_a_mixture() -> None:
    above = {"Dog": {"Animal"}, "Cat": {"Animal"}, "Bark": {"Dog", "Animal"}}
    pairs = set()
    for anchors in _mixes(SeparatorTraining(sources=(1, 1, 1))):
        for place, first in enumerate(anchors):
            for second in anchors[place + 1 :]:
                pairs.add(frozenset((first.label, second.label)))
                for one in first.heard:
                    for other in second.heard:
                        assert one != other
                        assert one not in above.get(other, ()) and other not in above.get(one, ())
    assert frozenset(("Dog", "Cat")) in pairs  # both are animals, but neither is a kind of the other
    assert frozenset(("Car", "Bell")) in pairs


def test_mixtures_have_as_many_segments_as_asked_for() -> None:
    training = SeparatorTraining(sources=(2, 1, 1))
    counts = Counter(len(anchors) for anchors in _mixes(training, 400))
    assert set(counts) == {2, 3, 4}
    assert counts[2] == pytest.approx(200, abs=40) and counts[4] == pytest.approx(100, abs=40)
    sampler = MixtureSampler(toy_catalog(), training)
    for plan, segments in zip(_plans(sampler, 30), segments_of(sampler, 30), strict=True):
        assert segments.shape == (4, TIME) and plan.conditions.shape == (2, DIM)
        assert segments[: len(plan.anchors)].square().sum(dim=-1).min() > 0
        assert not segments[len(plan.anchors) :].any()


def test_the_papers_mixtures_are_two_segments_of_equal_energy() -> None:
    training = SeparatorTraining(mixing="paper", sources=(0, 0, 1), gain_db=9.0)
    segments = segments_of(SAMPLERS[training.mixing](toy_catalog(), training, "train", None), 20)
    assert segments.shape == (20, 2, TIME)
    energies = segments.square().sum(dim=-1)
    torch.testing.assert_close(energies[:, 0], energies[:, 1], rtol=1e-3, atol=0)


def test_random_gains_are_the_default() -> None:
    sampler = MixtureSampler(toy_catalog(), SeparatorTraining(sources=(1, 0, 0)))
    energies = segments_of(sampler, 200).square().sum(dim=-1)
    levels_db = 10 * torch.log10(energies[:, 1] / energies[:, 0])
    assert float(levels_db.std()) == pytest.approx(3.0, abs=0.5)


def test_classes_are_drawn_alike_unless_told_otherwise() -> None:
    drawn = Counter(anchors[0].label for anchors in _mixes(SeparatorTraining(), 1_600))
    assert len(drawn) == 8
    assert min(drawn.values()) > 150 and max(drawn.values()) < 250
    by_size = Counter(anchors[0].label for anchors in _mixes(SeparatorTraining(class_balance=0.0), 1_600))
    assert by_size["Speech"] > 600 > 100 > by_size["Cat"]
    counts = np.array([1, 4, 400])
    np.testing.assert_allclose(class_weights(counts, 100), np.array([1, 2, 10]) / 13)
    np.testing.assert_allclose(class_weights(counts, 100, balance=1.0), [1 / 3] * 3)


def test_pairs_are_mixed_as_often_as_asked_for() -> None:
    pairs = (("Speech", "Bell"), ("Animal", "Rain"))
    mixes = _mixes(SeparatorTraining(pairs=pairs, pair_share=1.0, sources=(1, 0, 0)), 200)
    met = Counter((first.label, second.label) for first, second in mixes)
    assert met["Speech", "Bell"] > 60
    kinds = {first for first, second in met if second == "Rain"}
    assert kinds >= {"Dog", "Cat", "Animal", "Bark"}  # what the ontology says of Bark, no clip's labels do
    assert {second for _, second in met} == {"Bell", "Rain"}
    half = Counter(
        (first.label, second.label)
        for first, second in _mixes(SeparatorTraining(pairs=pairs, pair_share=0.5, sources=(1, 0, 0)), 200)
    )
    assert 70 < sum(half[pair] for pair in met) < 150


def test_a_pair_whose_classes_never_go_together_is_drawn_from_all_classes_instead() -> None:
    mixes = _mixes(SeparatorTraining(pairs=(("Animal", "Dog"),), pair_share=1.0, sources=(0, 0, 1)), 100)
    assert all(len(anchors) >= 2 for anchors in mixes)
    assert Counter(len(anchors) for anchors in mixes)[4] > 20


def test_a_pair_of_an_unknown_class_is_named() -> None:
    with pytest.raises(DataError, match="'Trombone' or a kind of it"):
        MixtureSampler(toy_catalog(), SeparatorTraining(pairs=(("Speech", "Trombone"),), pair_share=0.5))
    with pytest.raises(ValueError, match="pair_share needs pairs"):
        SeparatorTraining(pair_share=0.5)


def test_so_many_sounds_as_asked_for_are_in_a_room() -> None:
    for share in (0.0, 0.25, 1.0):
        sampler = MixtureSampler(toy_catalog(), SeparatorTraining(room_share=share))
        rooms = [play.room is not None for plan in _plans(sampler, 200) for play in plan.plays]
        assert np.mean(rooms) == pytest.approx(share, abs=0.08)


def test_so_many_sounds_as_asked_for_are_stretches() -> None:
    sampler = MixtureSampler(toy_catalog(), SeparatorTraining(cut_share=0.4, speed_share=0.0))
    plays = [play for plan in _plans(sampler, 300) for play in plan.plays]
    cut = [play for play in plays if play.fade > 1]
    assert len(cut) / len(plays) == pytest.approx(0.4, abs=0.06)
    assert all(0.15 * TIME - 1 <= play.length <= 0.6 * TIME + 1 for play in cut)
    assert min(play.first for play in cut) < 0.05 * TIME and max(play.first for play in cut) > 0.6 * TIME
    assert all(play.first + play.length <= TIME for play in cut)


def test_beds_are_part_of_mixtures_and_never_asked_for() -> None:
    training = SeparatorTraining(bed_share=0.6, bed_snr_db=(-5.0, 25.0), sources=(1, 0, 0))
    sampler = MixtureSampler(toy_catalog(), training)
    plans, segments = _plans(sampler, 200), segments_of(sampler, 200)
    assert segments.shape == (200, 3, TIME)
    power = segments[:, 2].square().sum(dim=1)
    has = np.array([plan.bed is not None for plan in plans])
    assert has.mean() == pytest.approx(0.6, abs=0.1)
    assert (power.numpy() > 0).tolist() == has.tolist()
    snr_db = 10 * torch.log10(segments[:, :2].sum(dim=1).square().sum(dim=1) / power)[torch.from_numpy(has)]
    assert -5.1 < float(snr_db.min()) < 0 and 20 < float(snr_db.max()) < 25.1
    beds = [plan.bed for plan in plans if plan.bed is not None]
    assert 0.35 < np.mean([bed.band[0] > 0 for bed in beds]) < 0.65
    assert all(2.0**-7.1 < bed.band[0] < bed.band[1] <= 1.0 for bed in beds if bed.band[0] > 0)
    assert Mixtures(MixtureSampler(toy_catalog(), SeparatorTraining())).batch(range(3)).beds is None


def test_a_mixture_can_be_longer_than_its_anchors() -> None:
    sampler = MixtureSampler(toy_catalog(), SeparatorTraining(mixture_s=3 * TIME / 32_000))
    assert segments_of(sampler, 5).shape == (5, 4, 3 * TIME)


def test_an_augmentation_of_ones_own_is_used() -> None:
    def backwards(play: Play, time: int, rng: np.random.Generator, training: TrainingConfig) -> Play:
        return replace(play, first=play.length - 1.0, speed=-1.0)

    plain, turned = (
        MixtureSampler(toy_catalog(), SeparatorTraining(sources=(1, 0, 0)), augment=augment)
        for augment in (only_place, backwards)
    )
    for one, other in zip(segments_of(plain, 5), segments_of(turned, 5), strict=True):
        torch.testing.assert_close(one[0].flip(0), other[0], rtol=0, atol=2e-3)


def test_noise_on_queries_is_as_wide_as_asked_for() -> None:
    catalog = toy_catalog()
    settings = {"own_query_share": 1.0, "absent_share": 0.0}
    noisy = MixtureSampler(catalog, SeparatorTraining.model_validate(settings | {"query_noise": 0.5}))
    clear = MixtureSampler(catalog, SeparatorTraining.model_validate(settings))
    off: list[NDArray[np.float32]] = []
    for one, plain in zip(_plans(noisy, 400), _plans(clear, 400), strict=True):
        off += list(one.conditions - catalog.latents[list(one.queried)])
        np.testing.assert_array_equal(plain.conditions, catalog.latents[list(plain.queried)])
    np.testing.assert_allclose(np.std(off, axis=0), 0.5 * catalog.latents.std(axis=0), rtol=0.15)


def test_mixtures_come_again_with_the_same_number() -> None:
    one, other = (Mixtures(MixtureSampler(toy_catalog(), SeparatorTraining(hard_share=0.5))) for _ in range(2))
    whole = one.batch(range(6))
    for indices in ([0, 5], [3]):
        part = other.batch(indices)
        torch.testing.assert_close(part.segments(), whole.segments()[indices], rtol=1e-4, atol=1e-5)
        assert torch.equal(part.conditions, whole.conditions[indices])
        assert torch.equal(part.anchors, whole.anchors[indices])
    assert not torch.equal(whole.segments()[0], whole.segments()[1])


def test_an_absent_query_is_of_a_class_that_is_in_no_clip_of_the_mixture() -> None:
    catalog = toy_catalog()
    training = SeparatorTraining(sources=(1, 1, 0), absent_share=0.5, queries=1, own_query_share=1.0)
    for plan in _plans(MixtureSampler(catalog, training), 100):
        assert plan.wanted.sum() == 1
        absent = int(plan.wanted.argmin())
        nearest = int(np.square(catalog.latents - plan.conditions[absent]).sum(axis=1).argmin())
        for one in plan.anchors:
            assert not set(catalog.anchors[nearest].heard) & set(catalog.anchors[one].heard)


def test_hard_mixtures_are_of_classes_that_are_alike() -> None:
    catalog = toy_catalog()
    labels = sorted({anchor.label for anchor in catalog.anchors})
    means = np.stack([catalog.latents[[a.label == label for a in catalog.anchors]].mean(axis=0) for label in labels])
    means = means - means.mean(axis=0)
    alike = means @ means.T / np.outer(np.linalg.norm(means, axis=1), np.linalg.norm(means, axis=1))
    sampler = MixtureSampler(catalog, SeparatorTraining(hard_share=1.0, sources=(1, 0, 0)))
    bell, rest = labels.index("Bell"), [label != "Bell" for label in labels]
    farthest_two = {labels[index] for index in np.argsort(np.where(rest, alike[bell], np.inf))[:2]}
    seconds: Counter[str] = Counter()
    for plan in _plans(sampler, 400):
        first, second = (catalog.anchors[one].label for one in plan.anchors)
        if first == "Bell":
            seconds[second] += 1
    assert sum(seconds.values()) > 20 and not farthest_two & set(seconds)


def test_weak_and_impure_anchors_can_be_left_out() -> None:
    with pytest.raises(DataError, match=r"score of at least 0\.95"):
        MixtureSampler(toy_catalog(score=0.3), SeparatorTraining(min_score=0.95))
    with pytest.raises(DataError, match=r"purity of at least 0\.6"):
        MixtureSampler(toy_catalog(), SeparatorTraining(min_purity=0.6))
    catalog = toy_catalog(score=0.3)
    for plan in _plans(MixtureSampler(catalog, SeparatorTraining(min_score=0.5)), 50):
        assert all(catalog.anchors[one].score == 0.9 for one in plan.anchors)


def test_training_and_validation_keep_to_their_sides() -> None:
    train, validation = toy_catalog(), toy_catalog("validation")
    with pytest.raises(DataError, match="for 'train'"):
        MixtureSampler(validation, SeparatorTraining())
    with pytest.raises(DataError, match="for 'validation'"):
        validation_mixtures(train, 3, seed=0)
    (first,), (again,) = (validation_mixtures(validation, 3, seed=7) for _ in range(2))
    assert torch.equal(first.segments(), again.segments()) and torch.equal(first.conditions, again.conditions)
    assert first.segments().shape == (3, 2, TIME)
    parts = [batch.segments() for batch in validation_mixtures(validation, 19, seed=7)]
    assert [len(part) for part in parts] == [8, 8, 3]
    torch.testing.assert_close(parts[0][:3], first.segments(), rtol=1e-4, atol=1e-5)


def _only(*labels: str) -> Catalog:
    catalog = toy_catalog()
    chosen = [index for index, anchor in enumerate(catalog.anchors) if anchor.label in labels]
    return Catalog([catalog.anchors[i] for i in chosen], catalog.latents[chosen], catalog.audio(chosen), catalog.facts)


def test_few_classes_make_smaller_mixtures_and_related_ones_none() -> None:
    sampler = MixtureSampler(_only("Cat", "Bell"), SeparatorTraining(sources=(0, 0, 1), absent_share=0.5))
    plan = sampler.plan(0)
    assert segments_of(sampler, 1).shape == (1, 4, TIME) and len(plan.anchors) == 2
    assert plan.wanted.tolist() == [1.0, 1.0]  # there is no third class to ask for
    with pytest.raises(DataError, match="no pairs"):
        MixtureSampler(_only("Cat", "Animal"), SeparatorTraining()).plan(0)
    alone = MixtureSampler(_only("Cat", "Animal"), SeparatorTraining(alone_share=1.0))
    with pytest.raises(DataError, match="no pairs"):
        alone.plan(0)
    with pytest.raises(ValueError, match="three shares"):
        SeparatorTraining(sources=(0, 0, 0))


def test_the_loss_counts_all_segments_as_mixture_and_two_as_targets() -> None:
    torch.manual_seed(0)
    network = build_separator(CompactConfig(channels=(8, 16), condition_dim=4, condition_hidden=8))
    module = SeparatorModule(network, SeparatorTraining())
    segments, conditions = torch.randn(2, 2, 16_000) * 0.1, torch.randn(2, 2, 4)
    wanted = torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    third, nothing = torch.randn(2, 1, 16_000) * 0.1, torch.zeros(2, 1, 16_000)
    with torch.no_grad():
        two = module.batch_loss(given(segments, conditions, wanted))
        padded = module.batch_loss(given(torch.cat((segments, nothing, nothing), dim=1), conditions, wanted))
        four = module.batch_loss(given(torch.cat((segments, third, -third), dim=1), conditions, wanted))
        three = module.batch_loss(given(torch.cat((segments, third, nothing), dim=1), conditions, wanted))
        assert isinstance(network.after_conv, torch.nn.Conv2d) and network.after_conv.bias is not None
        network.after_conv.bias.fill_(20.0)
        network.after_conv.weight.zero_()
        everything = module.batch_loss(given(torch.cat((segments, 1e3 * third), dim=1), conditions, wanted))
    assert float(padded) == pytest.approx(float(two), abs=1e-4)
    assert float(four) == pytest.approx(float(two), abs=1e-4)
    assert abs(float(three - two)) > 1e-3
    assert float(everything) == pytest.approx(0.0, abs=0.1)  # the mixture is nearly all error


def test_the_loss_is_the_energy_of_the_error_over_the_mixtures_in_db() -> None:
    torch.manual_seed(0)
    config = CompactConfig(channels=(8, 16), condition_dim=4, condition_hidden=8)
    network = build_separator(config)
    module = SeparatorModule(network, SeparatorTraining()).eval()
    segments, conditions = torch.randn(3, 2, 16_000) * 0.1, torch.randn(3, 2, 4)
    wanted = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    with torch.no_grad():
        loss = module.batch_loss(given(segments, conditions, wanted))
        losses = []
        for sources, queries, asked in zip(stft(segments, config.n_fft, config.hop), conditions, wanted, strict=True):
            mixture = sources.sum(dim=0)
            for source, query, there in zip(sources, queries, asked, strict=True):
                mask = network.mask_of_magnitude(mixture.abs()[None], query[None])[0]
                error = (there * source - mask * mixture).abs().square().sum()
                losses.append(10 * torch.log10(error / mixture.abs().square().sum() + 10**-2.5))
    assert float(loss) == pytest.approx(float(torch.stack(losses).mean()), abs=1e-4)


class _Silent(CompactUnet):
    """Answers everything with silence, ``quieter`` times as loud as the mixture."""

    quieter = 1e-3

    def answer(self, heard: list[Tensor], conditions: Tensor, frames: int) -> Tensor:
        return torch.full((len(conditions), 1025, frames), self.quieter)


def test_what_silence_earns_where_it_is_right_has_a_floor_of_its_own() -> None:
    network = _Silent(CompactConfig(channels=(8, 16), condition_dim=4, condition_hidden=8))
    segments = torch.randn(1, 2, 16_000, generator=torch.Generator().manual_seed(0))
    segments[:, 1] = 0.0
    wanted = torch.tensor([[1.0, 0.0]])  # missed, and rightly silent

    def loss(**settings: float) -> float:
        module = SeparatorModule(network, SeparatorTraining.model_validate(settings))
        return float(module.batch_loss(given(segments, torch.zeros(1, 2, 4), wanted)))

    assert loss(snr_floor_db=30.0) == pytest.approx(-15.0, abs=0.1)
    assert loss(snr_floor_db=30.0, absent_floor_db=10.0) == pytest.approx(-5.0, abs=0.1)
    assert loss(snr_floor_db=10.0, absent_floor_db=30.0) == pytest.approx(-15.0, abs=0.3)


def test_a_class_with_a_single_clip_is_refused_or_left_out() -> None:
    catalog = toy_catalog()
    alone = next(index for index, anchor in enumerate(catalog.anchors) if anchor.label == "Bell")
    others = [index for index, anchor in enumerate(catalog.anchors) if anchor.label != "Bell" or index == alone]
    thin = Catalog(
        [catalog.anchors[index] for index in others], catalog.latents[others], catalog.audio(others), catalog.facts
    )
    with pytest.raises(DataError, match=r"1 of 8 classes have a single clip: 'Bell'.*min_clips=2"):
        MixtureSampler(thin, SeparatorTraining())
    sampler = MixtureSampler(thin, SeparatorTraining(min_clips=2))
    drawn = {thin.anchors[one].label for plan in _plans(sampler, 200) for one in plan.anchors}
    assert "Bell" not in drawn and len(drawn) == 7
    with pytest.raises(DataError, match="at least 40 clips"):
        MixtureSampler(thin, SeparatorTraining(min_clips=40))


def test_a_sound_alone_is_asked_for_by_itself_and_by_what_is_not_there() -> None:
    catalog = toy_catalog()
    sampler = MixtureSampler(catalog, SeparatorTraining(alone_share=1.0, queries=1, own_query_share=1.0))
    for plan, segments in zip(_plans(sampler, 30), segments_of(sampler, 30), strict=True):
        assert segments[0].any() and not segments[1:].any()
        assert plan.wanted.tolist() == [1.0, 0.0] and len(plan.anchors) == 1
        queried = [int(np.square(catalog.latents - one).sum(axis=1).argmin()) for one in plan.conditions]
        classes = set(catalog.anchors[plan.anchors[0]].heard)
        assert queried[0] == plan.anchors[0] and not classes & set(catalog.anchors[queried[1]].heard)
