"""Sounds played as other classes, and examples with noise."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from toy_catalog import CLIPS, DIM, TIME, toy_catalog

from querysep.anchors.catalog import Catalog
from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.detection.windows import embed
from querysep.dsp.mixing import Playback, render, rms
from querysep.progress import Progress
from querysep.training import variations
from querysep.training.batches import Crowd
from querysep.training.config import SeparatorTraining
from querysep.training.sampler import MixtureSampler
from querysep.training.variations import Variation, VariedCatalog, play_rows, vary_catalog

RATE = 32_000
SMALL = HtsatConfig(n_mels=16, image_size=64, embed_dim=8, depths=(1,), heads=(1,), window_size=4, classes=3)


def _detector() -> Htsat:
    torch.manual_seed(3)
    return Htsat(SMALL).eval()


def _varied(folder: Path, count: int = 3) -> VariedCatalog:
    return vary_catalog(toy_catalog(), _detector(), count, folder)


def _recorded(wave: NDArray[np.float32], time: int) -> Catalog:
    """Return a catalog of one anchor."""
    toy = toy_catalog()
    audio = np.zeros((1, time), np.int16)
    audio[0, : len(wave)] = np.round(wave * 32767)
    anchor = toy.anchors[0].model_copy(update={"label": "Bell", "sounding": len(wave)})
    return Catalog([anchor], toy.latents[:1], audio, toy.facts.model_copy(update={"segment_time": time}))


def _played(wave: NDArray[np.float32], number: int, time: int) -> NDArray[np.float32]:
    """Return a sound in a variation of the class Bell."""
    catalog, rows = _recorded(wave, time), [(0, number)]
    sounds = torch.from_numpy(catalog.audio([0]))
    stretches = variations._stretches(catalog, rows, sounds)
    played: NDArray[np.float32] = play_rows(catalog, rows, stretches, sounds)[0, : stretches[0, 1]].numpy()
    return played


def test_a_variation_changes_speed_and_direction_and_keeps_the_level() -> None:
    seconds = np.arange(RATE) / RATE
    wave = (0.1 * np.sin(2 * np.pi * 1000 * seconds) * np.exp(-4 * seconds)).astype(np.float32)
    for number in range(6):
        variation = Variation.of("Bell", number)
        played = _played(wave, number, 3 * RATE)
        assert len(played) == pytest.approx(RATE / variation.speed, abs=2)
        pitch_hz = np.argmax(np.abs(np.fft.rfft(played))) * RATE / len(played)
        assert pitch_hz == pytest.approx(1000 * variation.speed, rel=0.05)
        assert np.sqrt(np.square(played).mean()) == pytest.approx(np.sqrt(np.square(wave).mean()), rel=1e-2)
        first, last = np.abs(played[: len(played) // 4]).max(), np.abs(played[-len(played) // 4 :]).max()
        assert (last > first) == variation.backwards == (number % 3 == 2)
        octaves = np.log2(variation.speed)
        assert (0.5 <= octaves <= 1.2, -1.2 <= octaves <= -0.5, abs(octaves) <= 0.4)[number % 3]
        assert variation == Variation.of("Bell", number) != Variation.of("Bark", number)


def test_a_variation_keeps_the_loudest_stretch_and_does_not_clip() -> None:
    wave = np.full(4_000, 0.001, np.float32)
    wave[3_000:3_050] = 0.5 * np.sin(np.arange(50))
    for number in range(3):
        played = _played(wave, number, 4_000)
        assert len(played) == min(4_000, round(4_000 / Variation.of("Bell", number).speed))
        assert np.abs(played).max() > 20 * np.median(np.abs(played)), number
    loud = np.sign(np.random.default_rng(0).standard_normal(4_000)).astype(np.float32)
    assert np.abs(_played(loud, 1, 4_000)).max() == pytest.approx(0.95, abs=1e-5)
    assert len(_played(loud[:1], 0, 4_000)) >= 1


def test_variations_come_after_the_anchors_as_classes_of_their_own(tmp_path: Path) -> None:
    catalog, varied = toy_catalog(), _varied(tmp_path)
    count = len(catalog.anchors)
    assert varied.plain == count and len(varied.anchors) == 4 * count and varied.latents.shape == (4 * count, DIM)
    assert varied.anchors[:count] == catalog.anchors
    np.testing.assert_array_equal(varied.latents[:count], catalog.latents)
    np.testing.assert_array_equal(varied.audio([3]), catalog.audio([3]))
    assert varied.play(3) == catalog.play(3)
    assert {anchor.label for anchor in varied.anchors[count:]} == {
        f"{label}, variation {number}" for label, _, _ in CLIPS for number in (1, 2, 3)
    }
    for index in range(count, 4 * count, 17):
        anchor = varied.anchors[index]
        assert 0 < anchor.sounding <= TIME
        (plain,) = [
            one
            for one in range(count)
            if f"{catalog.anchors[one].clip}, " == anchor.clip[: -len("variation 1")]
            and f"{catalog.anchors[one].label}, " == anchor.label[: -len("variation 1")]
        ]
        np.testing.assert_array_equal(varied.audio([index]), catalog.audio([plain]))
        sound = render(torch.from_numpy(varied.audio([index])), Playback.of([varied.play(index)]), TIME, RATE)
        sound = sound[:, : anchor.sounding]
        sound = sound * float(rms(torch.from_numpy(catalog.wave(plain))) / rms(sound))
        embedded = embed(_detector(), sound * min(1.0, 0.95 / float(sound.abs().max())))[0].detach().numpy()
        np.testing.assert_allclose(varied.latents[index], embedded, atol=1e-3)


def test_noisy_examples_differ_from_plain_ones(tmp_path: Path) -> None:
    varied = _varied(tmp_path, 0)
    assert varied.noisy is not None and varied.noisy.shape == varied.latents.shape
    assert (np.abs(varied.noisy - varied.latents).max(axis=1) > 1e-3).all()


def test_only_the_training_side_is_varied(tmp_path: Path) -> None:
    catalog = toy_catalog()
    anchors = [
        anchor.model_copy(update={"split": "validation" if index % 2 else "train"})
        for index, anchor in enumerate(catalog.anchors)
    ]
    half = Catalog(anchors, catalog.latents, catalog.audio(range(len(anchors))), catalog.facts)
    varied = vary_catalog(half, _detector(), 1, tmp_path)
    assert all(anchor.split == "train" for anchor in varied.anchors[varied.plain :])
    assert len(varied.anchors) == len(anchors) + (len(anchors) + 1) // 2
    assert varied.noisy is not None
    same = (varied.noisy == catalog.latents).all(axis=1)
    assert same.tolist() == [bool(index % 2) for index in range(len(anchors))]


def test_large_classes_are_varied_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variations, "_CAP", 5)
    varied = _varied(tmp_path, 1)
    speech = [anchor for anchor in varied.anchors if anchor.label == "Speech, variation 1"]
    assert len(speech) == 5


def test_embeddings_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _varied(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(variations, "embed_together", None)  # embeds nothing
        again = _varied(tmp_path)
    np.testing.assert_array_equal(first.latents, again.latents)
    assert first.anchors == again.anchors
    assert len(_varied(tmp_path, 1).anchors) == 2 * first.plain  # other variations: embedded again


def test_processes_share_the_embedding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = _varied(tmp_path / "alone")
    embedded = []
    embed_rows = variations._embed

    def embed_and_count(
        catalog: Catalog, network: Htsat, rows: Sequence[tuple[int, int]], part: Path, progress: Progress
    ) -> None:
        embedded.append(len(rows))
        embed_rows(catalog, network, rows, part, progress)

    def other(_seconds: float) -> None:
        monkeypatch.setattr(Crowd, "here", lambda: Crowd(1, 2, 2))
        monkeypatch.setattr("time.sleep", None)
        _varied(tmp_path / "shared")

    monkeypatch.setattr(variations, "_embed", embed_and_count)
    monkeypatch.setattr("time.sleep", other)
    monkeypatch.setattr(Crowd, "here", lambda: Crowd(0, 2, 2))
    shared = _varied(tmp_path / "shared")
    assert len(embedded) == 2 and sum(embedded) == 4 * alone.plain
    np.testing.assert_allclose(shared.latents, alone.latents, atol=1e-5)
    assert shared.noisy is not None and alone.noisy is not None
    np.testing.assert_allclose(shared.noisy, alone.noisy, atol=1e-5)


def test_a_class_never_meets_its_variation_and_variations_have_their_share(tmp_path: Path) -> None:
    varied = _varied(tmp_path)
    sampler = MixtureSampler(varied, SeparatorTraining(variations=3, varied_share=0.3, sources=(1, 1, 0)))
    of_variations, met = [], set()
    for index in range(400):
        anchors = sampler.plan(index).anchors
        of_variations.append(anchors[0] >= varied.plain)
        for place, one in enumerate(anchors):
            for other in anchors[place + 1 :]:
                labels = [varied.anchors[each].label.split(", ")[0] for each in (one, other)]
                met.add((labels[0], one >= varied.plain, other >= varied.plain))
                assert labels[0] != labels[1]
    assert np.mean(of_variations) == pytest.approx(0.3, abs=0.08)
    assert {(True, True), (True, False), (False, True), (False, False)} == {pair[1:] for pair in met}


def test_a_variation_is_asked_for_by_another_recording_played_the_same_way(tmp_path: Path) -> None:
    varied = _varied(tmp_path)
    training = SeparatorTraining(variations=3, varied_share=0.9, own_query_share=0.0, queries=1, absent_share=0.0)
    sampler = MixtureSampler(varied, training)
    for index in range(50):
        plan = sampler.plan(index)
        for anchor, condition in zip(plan.queried, plan.conditions, strict=True):
            (example,) = np.flatnonzero((varied.latents == condition).all(axis=1))[:1]
            assert varied.anchors[example].label == varied.anchors[anchor].label


def test_examples_have_noise_as_often_as_asked_for(tmp_path: Path) -> None:
    varied = _varied(tmp_path, 0)
    assert varied.noisy is not None
    for share in (0.0, 0.5, 1.0):
        sampler = MixtureSampler(varied, SeparatorTraining(noisy_query_share=share, queries=1, absent_share=0.0))
        noisy = []
        for index in range(200):
            for condition in sampler.plan(index).conditions:
                known = [(table == condition).all(axis=1).any() for table in (varied.latents, varied.noisy)]
                assert known.count(True) == 1
                noisy.append(known[1])
        assert np.mean(noisy) == pytest.approx(share, abs=0.08)
