"""The recipe for a GPU: sounds that travel, mixtures made for a whole batch, and a training on them."""

import csv
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from toy_catalog import DIM, TIME, toy_catalog

from querysep.anchors.catalog import Catalog
from querysep.detection.config import DetectorConfig
from querysep.detection.htsat import Htsat
from querysep.separation.build import build_separator
from querysep.separation.config import SeparatorConfig
from querysep.training.config import SeparatorTraining
from querysep.training.separator_items import SeparatorItems
from querysep.training.variations import play_anchor, vary_catalog

RATE = 32_000
RECIPE = Path(__file__).parents[2] / "recipes" / "default"
SMALL = DetectorConfig(n_mels=16, image_size=64, embed_dim=8, depths=(1,), heads=(1,), window_size=4, classes=3)
SHAPE = SeparatorConfig(hop=512, channels=(8, 16), condition_dim=DIM, condition_hidden=16, presence_dim=8)


@pytest.fixture(scope="module")
def recipe() -> tuple[ModuleType, ModuleType]:
    sys.path.insert(0, str(RECIPE))
    try:
        import on_gpu
        import packed
    finally:
        sys.path.remove(str(RECIPE))
    return packed, on_gpu


def _catalog() -> Catalog:
    """Return tones, every third of them on the validation side."""
    toy = toy_catalog()
    anchors = [
        anchor.model_copy(update={"split": "train" if index % 3 else "validation", "sounding": TIME - 10 * index})
        for index, anchor in enumerate(toy.anchors)
    ]
    tones = np.sin(2 * np.pi * np.arange(200, 200 + 20 * len(anchors), 20)[:, None] * np.arange(TIME) / RATE)
    return Catalog(anchors, toy.latents, (9_000 * tones).astype(np.int16), toy.facts)


@pytest.fixture(scope="module")
def unpacked(recipe: tuple[ModuleType, ModuleType], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    catalog = _catalog()
    torch.manual_seed(3)
    recipe[0].pack(catalog, vary_catalog(catalog, Htsat(SMALL).eval(), 2, folder / "variations"), folder)
    recipe[0].unpack(folder, 1)
    return folder


def test_a_catalog_comes_back_with_its_variations(
    recipe: tuple[ModuleType, ModuleType], unpacked: Path, tmp_path: Path
) -> None:
    catalog, (plain, varied) = _catalog(), recipe[0].read_packed(unpacked)
    torch.manual_seed(3)
    whole = vary_catalog(catalog, Htsat(SMALL).eval(), 2, tmp_path)
    assert plain.anchors == catalog.anchors and varied.anchors == whole.anchors and plain.facts == catalog.facts
    np.testing.assert_allclose(varied.latents, whole.latents, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(varied.noisy, whole.noisy, rtol=1e-3, atol=1e-3)
    waves = np.load(unpacked / recipe[0].WAVES)
    assert waves.shape == (len(varied.anchors), TIME)
    for index in range(0, len(catalog.anchors), 7):
        error = plain.wave(index) - catalog.wave(index)
        assert np.square(error).sum() < 0.01 * np.square(catalog.wave(index)).sum()
        assert not waves[index, catalog.anchors[index].sounding :].any()
    number, which = 1, 5
    played = play_anchor(plain, int(varied.chosen[which]), number)
    row = varied.plain + number * len(varied.chosen) + which
    np.testing.assert_allclose(waves[row, : len(played)], played * 32_767.0, atol=1.0)


def test_of_the_largest_class_a_part_travels(
    recipe: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(recipe[0], "_SPEECH", 4)
    catalog = _catalog()
    varied = vary_catalog(catalog, Htsat(SMALL).eval(), 1, tmp_path)
    needed = [index for index in varied.chosen if catalog.anchors[index].label != "Speech"]
    kept = recipe[0]._kept(catalog, [int(index) for index in needed])
    speech = [index for index in kept if catalog.anchors[index].label == "Speech"]
    assert sum(catalog.anchors[index].split == "train" for index in speech) == 4
    assert len(kept) - len(speech) == sum(anchor.label != "Speech" for anchor in catalog.anchors)
    assert kept == sorted(kept)


def test_a_sound_is_heard_as_it_is_where_nothing_changes_it(
    recipe: tuple[ModuleType, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = _catalog()
    sounding = torch.tensor([anchor.sounding for anchor in catalog.anchors])
    waves = torch.from_numpy(catalog.audio(range(len(sounding))))
    sounds = recipe[1].Sounds(waves, sounding, RATE, SeparatorTraining(room_share=0.0))
    torch.manual_seed(0)
    heard = sounds._render(torch.zeros(200, dtype=torch.long)).numpy()  # as long as a segment
    plain = catalog.wave(0)
    same = [np.allclose(one, plain, atol=1e-4) for one in heard]
    assert 0.15 < np.mean(same) < 0.35  # neither speed nor colour: a quarter
    pitch = np.abs(np.fft.rfft(heard, 8 * TIME)).argmax(axis=1) * RATE / (8 * TIME)
    assert pitch.min() > 200 * 2 ** (-0.34) and pitch.max() < 200 * 2**0.34
    assert np.mean(np.abs(pitch - 200) < 4) > 0.4 and np.ptp(pitch) > 60
    level_db = 10 * np.log10(np.square(heard).mean(axis=1) / np.square(plain).mean())
    assert np.abs(level_db).max() < 9.0 and np.ptp(level_db) > 6.0


def test_a_short_sound_is_repeated_or_alone(recipe: tuple[ModuleType, ModuleType]) -> None:
    wave = torch.zeros(1, TIME, dtype=torch.int16)
    wave[0, :100] = 8_000
    sounds = recipe[1].Sounds(wave, torch.tensor([100]), RATE, SeparatorTraining(room_share=0.0))
    torch.manual_seed(0)
    heard = (sounds._placed(torch.zeros(400, dtype=torch.long)) > 0.1).float()
    share = heard.sum(dim=1)
    alone = share < 150
    assert 0.55 < float(alone.float().mean()) < 0.75
    assert ((share[alone] > 75) & (share[alone] < 130)).all() and share[~alone].min() > 0.4 * TIME
    first = heard[alone].argmax(dim=1)
    assert first.min() < 300 and first.max() > TIME - 400


def test_rooms_ring_on(recipe: tuple[ModuleType, ModuleType]) -> None:
    wave = torch.zeros(1, TIME, dtype=torch.int16)
    wave[0, 1_000] = 20_000
    wet, some = (
        recipe[1].Sounds(wave, torch.tensor([TIME]), RATE, SeparatorTraining(room_share=share)) for share in (1.0, 0.4)
    )
    torch.manual_seed(0)
    tails = wet._tails(300)
    energy_db = 10 * torch.log10(tails.square().sum(dim=1))
    assert energy_db.min() > -18.1 and energy_db.max() < 0.1 and energy_db.max() - energy_db.min() > 15
    quarter = tails.shape[1] // 4
    assert (tails[:, :quarter].square().sum(dim=1) > tails[:, -quarter:].square().sum(dim=1)).all()
    assert 0.3 < float((some._tails(300).square().sum(dim=1) > 0).float().mean()) < 0.5


def test_segments_are_as_loud_as_the_first_and_then_their_level(recipe: tuple[ModuleType, ModuleType]) -> None:
    catalog = _catalog()
    waves = torch.from_numpy(catalog.audio(range(len(catalog.anchors))))
    sounds = recipe[1].Sounds(
        waves, torch.tensor([anchor.sounding for anchor in catalog.anchors]), RATE, SeparatorTraining(room_share=0.5)
    )
    anchors = torch.tensor([[0, 5, -1], [7, 9, 30], [4, -1, -1]])
    levels_db = torch.tensor([[0.0, 6.0, 0.0], [0.0, -3.0, 2.0], [0.0, 0.0, 0.0]])
    segments = sounds.segments(anchors, levels_db)
    assert segments.shape == (3, 3, TIME)
    power = segments.square().mean(dim=2)
    found_db = 10 * torch.log10(power / power[:, :1])
    known = anchors >= 0
    torch.testing.assert_close(found_db[known], levels_db[known], atol=1e-3, rtol=0)
    assert not segments[~known].any()


def test_plans_are_what_the_package_would_mix(recipe: tuple[ModuleType, ModuleType]) -> None:
    training = SeparatorTraining(batch_size=6, absent_share=0.2, alone_share=0.2, min_clips=2)
    items = SeparatorItems(_catalog(), training)
    first, second = (next(iter(recipe[1].Plans(items, training))) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other)
    anchors, levels_db, conditions, wanted = first
    rng = np.random.default_rng([training.seed, 5, 0])
    for row in range(6):
        plan = items.plan(rng)
        assert anchors[row].tolist() == [*plan.asked, *plan.chosen] + [-1] * (4 - len(plan.chosen))
        np.testing.assert_allclose(levels_db[row, : len(plan.chosen)], plan.levels_db, rtol=1e-6)
        np.testing.assert_array_equal(conditions[row].numpy(), plan.conditions)
        assert wanted[row].tolist() == plan.wanted.tolist()


def test_a_training_leaves_weights_and_a_log(
    recipe: tuple[ModuleType, ModuleType], unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe[1], "VALIDATED", 4)
    torch.manual_seed(0)
    network = build_separator(SHAPE)
    before = {name: value.half().float() for name, value in network.state_dict().items()}
    training = SeparatorTraining(minutes=0.05, batch_size=4, warmup_steps=1, workers=0, min_clips=2)
    recipe[1].train(unpacked, network, training, tmp_path, 1.0)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 1 and int(rows[-1]["step"]) > 2 and 0 <= float(rows[-1]["validation_presence_auc"]) <= 1
    best = max(float(row["validation_sdri_db"]) for row in rows)
    assert np.isfinite(best)
    for name in ("best.pt", "last.pt"):
        weights = torch.load(tmp_path / name, weights_only=True)
        moved = [key for key, value in weights.items() if not torch.equal(value.float(), before[key])]
        assert len(moved) > 20
        build_separator(SHAPE).load_state_dict(weights)
