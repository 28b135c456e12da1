"""Mining: what is mined, for which labels, what is left out and told, and that nothing is done twice."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from querysep.anchors.catalog import Catalog, read_catalog
from querysep.anchors.choice import MiningSettings
from querysep.anchors.mine import MiningReport, mine
from querysep.anchors.miner import Miner
from querysep.anchors.relations import Relations
from querysep.data.clips import ClipBank
from querysep.data.manifest import Clip
from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.detection.windows import PresenceStream, embed
from querysep.errors import ConfigError, DataError

CONFIG = HtsatConfig(
    n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, patch_size=4, classes=4
)
LABELS = ("Animal", "Dog", "Cat", "Car")
RATE = CONFIG.sample_rate


@pytest.fixture(scope="module")
def network() -> Htsat:
    torch.manual_seed(0)
    return Htsat(CONFIG).eval()


def _clip(name: str, labels: tuple[str, ...], time: int, **more: Any) -> Clip:
    fields: dict[str, Any] = {"licence": "CC0", "source": "made", "origin": name, "split": "train", **more}
    return Clip(path=name, labels=labels, duration_s=time / RATE, **fields)


def _bank(clips: Sequence[tuple[str, tuple[str, ...], float]], **more: Any) -> ClipBank:
    rng = np.random.default_rng(0)
    rows, sounds = [], []
    for name, labels, seconds in clips:
        time = round(seconds * RATE)
        swell = np.interp(np.arange(time), [0, time * rng.random(), time], [0.1, 1.0, 0.1])
        sounds.append((rng.standard_normal(time) * 3_000 * swell).astype(np.int16))
        rows.append(_clip(name, labels, time, **more))
    return ClipBank(tuple(rows), tuple(sounds), RATE)


def _mine(
    bank: ClipBank, network: Htsat, folder: Path, detector: str = "d", **settings: Any
) -> tuple[Catalog, MiningReport]:
    miner = Miner(
        network,
        LABELS,
        Relations(clip.labels for clip in bank.clips),
        MiningSettings(**settings),
    )
    report = mine(bank, miner, detector, folder)
    return read_catalog(folder), report


BANK = (
    ("a", ("Dog", "Animal"), 0.7),
    ("b", ("Dog", "Animal"), 5.0),
    ("c", ("Dog", "Animal", "Car"), 13.0),
    ("d", ("Animal",), 2.0),
    ("e", ("Car",), 25.0),
)


def _sound_of(bank: ClipBank, name: str) -> NDArray[np.int16]:
    return next(sound for clip, sound in zip(bank.clips, bank.samples, strict=True) if clip.path == name)


def test_each_class_that_none_more_specific_implies_is_mined(network: Htsat, tmp_path: Path) -> None:
    bank = _bank(BANK)
    catalog, report = _mine(bank, network, tmp_path)
    found = [(anchor.clip, anchor.label) for anchor in catalog.anchors]
    expected = [("a", "Dog"), ("b", "Dog"), ("c", "Dog"), ("c", "Dog"), ("c", "Car"), ("c", "Car"), ("d", "Animal")]
    assert found == [*expected, *[("e", "Car")] * 3]
    assert (report.clips, report.mined, report.anchors) == (5, 5, 10)
    for index, anchor in enumerate(catalog.anchors):
        sound, first = _sound_of(bank, anchor.clip), round(anchor.start_s * RATE)
        audio = catalog.audio([index])[0]
        np.testing.assert_array_equal(audio[: anchor.sounding], sound[first : first + anchor.sounding])
        assert not audio[anchor.sounding :].any()
        alone = embed(network, torch.from_numpy(audio[None, : anchor.sounding] / np.float32(32768)))[0]
        np.testing.assert_allclose(catalog.latents[index], alone, atol=1e-5)
    assert catalog.anchors[3].heard == ("Dog", "Car")


def test_the_default_is_the_window_with_the_largest_presence(network: Htsat, tmp_path: Path) -> None:
    bank = _bank([("b", ("Dog",), 9.0)])
    (anchor,) = _mine(bank, network, tmp_path)[0].anchors
    stream = PresenceStream(network)
    stream.push(np.divide(bank.samples[0], 32768, dtype=np.float32))
    track = stream.finish().framewise[LABELS.index("Dog")].repeat(round(PresenceStream(network)._frame))
    windows = [track[first : first + 2 * RATE].mean() for first in range(0, 7 * RATE + 1, RATE // 10)]
    assert anchor.start_s == pytest.approx(int(np.argmax(windows)) / 10)
    assert anchor.score == pytest.approx(max(windows), abs=1e-5)


def test_purity_counts_unrelated_classes_alone(network: Htsat, tmp_path: Path) -> None:
    bank = _bank(BANK[:4])
    catalog, _ = _mine(bank, network, tmp_path)
    stream = PresenceStream(network)
    stream.push(np.divide(_sound_of(bank, "a"), 32768, dtype=np.float32))
    presence = stream.finish()
    edges = np.minimum(np.arange(presence.framewise.shape[1] + 1) * presence.frame_s, 0.7)
    means = presence.framewise @ np.diff(edges) / 0.7
    # "Animal" is the dog's ancestor and does not count.
    assert catalog.anchors[0].purity == pytest.approx((1 - means[2]) * (1 - means[3]), abs=1e-5)


def test_several_anchors_of_a_clip_do_not_overlap(network: Htsat, tmp_path: Path) -> None:
    bank = _bank([("a", ("Dog",), 1.0), ("e", ("Dog",), 25.0)])
    catalog, _ = _mine(bank, network, tmp_path, per_clip=4)
    starts = [anchor.start_s for anchor in catalog.anchors if anchor.clip == "e"]
    assert len(starts) == 4 and min(np.diff(starts)) >= 2.0
    assert sum(anchor.clip == "a" for anchor in catalog.anchors) == 1


def test_what_is_left_out_is_counted(network: Htsat, tmp_path: Path) -> None:
    bank = _bank([*BANK, ("f", ("Dog", "Whale"), 1.0), ("g", ("Cat",), 0.0001)])
    everything, _ = _mine(bank, network, tmp_path / "all")
    border = float(np.median([anchor.score for anchor in everything.anchors]))
    kept, report = _mine(bank, network, tmp_path / "some", min_score=border)
    assert {anchor.score >= border for anchor in kept.anchors} == {True}
    assert report.left_out["anchors below the score"] == len(everything.anchors) - len(kept.anchors) > 0
    assert report.left_out["labels that the detector does not know: Whale"] == 1
    purest = float(np.median([anchor.purity for anchor in everything.anchors]))
    kept, report = _mine(bank, network, tmp_path / "pure", min_purity=purest)
    assert {anchor.purity >= purest for anchor in kept.anchors} == {True}
    assert report.left_out["anchors below the purity"] == len(everything.anchors) - len(kept.anchors) > 0


def test_held_out_and_test_clips_are_not_mined(network: Htsat, tmp_path: Path) -> None:
    banks = [
        _bank([("train", ("Dog",), 1.0)]),
        _bank([("validation", ("Dog",), 1.0)], split="validation"),
        _bank([("test", ("Dog",), 1.0)], split="test"),
        _bank([("held-out", ("Cat",), 1.0)], held_out=True),
    ]
    bank = ClipBank(sum((b.clips for b in banks), ()), sum((b.samples for b in banks), ()), RATE)
    catalog, report = _mine(bank, network, tmp_path)
    assert [(anchor.clip, anchor.split) for anchor in catalog.anchors] == [
        ("train", "train"),
        ("validation", "validation"),
    ]
    assert report.left_out["clips that are held out"] == 1
    with pytest.raises(DataError, match="no clips to mine"):
        _mine(banks[2], network, tmp_path / "none")


class _Unreadable(ClipBank):
    """A data set of which the second clip cannot be read."""

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        if index == 1:
            raise DataError("The clip 'b' cannot be read.")
        return super().read(index, start, count)


def test_an_unreadable_clip_is_told_and_tried_again(network: Htsat, tmp_path: Path) -> None:
    bank = _bank(BANK)
    broken = _Unreadable(bank.clips, bank.samples, RATE)
    catalog, report = _mine(broken, network, tmp_path)
    assert report.unreadable == {"b": "The clip 'b' cannot be read."}
    assert "b" not in {anchor.clip for anchor in catalog.anchors}
    catalog, report = _mine(bank, network, tmp_path)
    assert report.mined == 1 and "b" in {anchor.clip for anchor in catalog.anchors}


def test_a_second_call_does_nothing_and_another_detector_starts_over(network: Htsat, tmp_path: Path) -> None:
    bank = _bank(BANK)
    first, _ = _mine(bank, network, tmp_path)
    again, report = _mine(bank, network, tmp_path)
    assert (report.mined, report.anchors, report.started_over) == (0, 0, False)
    assert again.anchors == first.anchors
    other, report = _mine(bank, network, tmp_path, detector="other")
    assert report.started_over and report.mined == 5
    assert other.detector == "other" and len(other.anchors) == len(first.anchors)
    settings, report = _mine(bank, network, tmp_path, detector="other", per_clip=1)
    assert report.started_over and len(settings.anchors) == 6


def test_mining_goes_on_where_it_stopped(network: Htsat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("querysep.anchors.mine._BATCH_CLIPS", 2)
    monkeypatch.setattr("querysep.anchors.mine._COMMIT_CLIPS", 2)
    bank = _bank(BANK)
    miner = Miner(network, LABELS, Relations(clip.labels for clip in bank.clips), MiningSettings())

    def stop(done: float, total: float | None, what: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mine(bank, miner, "d", tmp_path, progress=stop)
    with pytest.raises(DataError, match="querysep mine"):
        read_catalog(tmp_path)
    again, report = _mine(bank, network, tmp_path)
    assert report.mined == 3
    straight, _ = _mine(bank, network, tmp_path / "straight")
    assert again.anchors == straight.anchors
    everything = range(len(straight.anchors))
    np.testing.assert_array_equal(again.audio(everything), straight.audio(everything))
    np.testing.assert_allclose(again.latents, straight.latents, atol=1e-6)


def test_the_published_choice_needs_a_published_detector(network: Htsat, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="preset 'paper'"):
        _mine(_bank(BANK), network, tmp_path, choice="published")


def test_the_published_choice_on_ten_seconds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = CONFIG.model_copy(update={"n_mels": 64, "image_size": 256, "patch_size": 16})
    bank = _bank([("b", ("Dog",), 10.0), ("c", ("Dog",), 12.0), ("d", ("Car",), 1.5)])
    network = Htsat(config).eval()
    catalog, report = _mine(bank, network, tmp_path, choice="published")
    assert report.left_out["clips of which only the first 10 seconds were taken"] == 1
    assert len(catalog.anchors) + report.left_out["anchors in the padding"] == 3
    with torch.inference_mode():
        grid = network(torch.from_numpy(bank.samples[0][None] / np.float32(32768))).framewise[0, 1].numpy()
    summed = np.convolve(grid.repeat(1024 // len(grid)), np.ones(200), mode="same")
    centre = int(np.argmax(summed)) * 1000 // 1024 * 320
    assert catalog.anchors[0].start_s * RATE == min(max(0, centre - RATE), 8 * RATE)
