"""The label bank: which anchors count in the condition of a class, and how it is kept beside the weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from querysep.anchors.catalog import Anchor, Catalog, CatalogFacts
from querysep.anchors.label_bank import check_mined_by, joined, label_bank
from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.detection.windows import embed
from querysep.errors import DataError, WeightsError
from querysep.io.label_bank import BANK_NAME, BankRow, LabelBank, read_label_bank

CONFIG = HtsatConfig(
    n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, patch_size=4, classes=4
)
FACTS = CatalogFacts(sample_rate=32_000, segment_time=64_000, latent_dim=16, detector="d", settings="{}")


@pytest.fixture(scope="module")
def network() -> Htsat:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Htsat(CONFIG).eval()


def anchor(label: str, clip: str, labels: tuple[str, ...], **more: object) -> Anchor:
    values = {"heard": (label,), "origin": clip, "start_s": 0.0, "sounding": 20_000, "score": 0.5, "purity": 0.5}
    return Anchor.model_validate({"label": label, "labels": labels, "clip": clip} | values | more)


ANCHORS = (
    anchor("Bark", "a", ("Bark", "Dog", "Animal")),
    anchor("Bark", "a", ("Bark", "Dog", "Animal")),
    anchor("Bark", "b", ("Bark", "Dog", "Animal")),
    anchor("Bark", "c", ("Bark", "Dog", "Animal")),
    anchor("Bark", "d", ("Bark", "Dog", "Animal"), split="validation"),
    anchor("Dog", "a", ("Bark", "Dog", "Animal"), heard=("Bark",)),
    anchor("Dog", "e", ("Dog", "Animal")),
    anchor("Dog", "f", ("Dog", "Animal")),
    anchor("Dog", "g", ("Dog", "Animal")),
    *(anchor("Animal", clip, ("Animal",)) for clip in "hij"),
    *(anchor("Rain", clip, ("Rain",)) for clip in "kk"),
)


def made(network: Htsat) -> Catalog:
    rng = np.random.default_rng(0)
    audio = (rng.standard_normal((len(ANCHORS), 64_000)) * 3_000).astype(np.int16)
    waves = torch.from_numpy(audio[:, :20_000].astype(np.float32) / 32768)
    return Catalog(ANCHORS, embed(network, waves).numpy(), audio, FACTS)


def test_each_training_recording_that_is_heard_as_the_class_counts_once(network: Htsat) -> None:
    catalog = made(network)
    bank = label_bank(catalog, network)
    assert [(row.label, row.examples) for row in bank.rows] == [("Animal", 3), ("Bark", 3), ("Dog", 3), ("Rain", 1)]
    latents = catalog.latents
    np.testing.assert_allclose(bank.conditions[1], (latents[:2].mean(0) + latents[2] + latents[3]) / 3, atol=1e-6)
    np.testing.assert_allclose(bank.conditions[2], latents[6:9].mean(axis=0), atol=1e-6)
    assert bank.rows[1].ancestors == ("Dog", "Animal")
    assert bank.profiles.shape == (4, 4)


def test_a_class_without_labels_is_where_the_detector_hears_it(network: Htsat, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = made(network)
    scores = np.zeros((len(ANCHORS), 7), np.float32)
    scores[[0, 1, 2, 3, 4, 9], 4] = 0.8, 0.9, 0.5, 0.4, 0.99, 0.29  # two of clip a, one of validation, one too unsure
    scores[[6, 7], 5] = 0.9  # in two recordings only
    scores[:, 6] = 0.9

    def heard(catalog: Catalog, chosen: list[int], network: Htsat) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(catalog.latents[chosen]), torch.from_numpy(scores[chosen])

    monkeypatch.setattr("querysep.anchors.label_bank._hear_all", heard)
    labels = ("Animal", "Bark", "Dog", "Rain", "Cat", "Horse", "Silence")
    bank = label_bank(catalog, network, labels)
    (row,) = (row for row in bank.rows if not row.is_labeled)
    assert (row.label, row.examples) == ("Cat", 3)
    place = bank.rows.index(row)
    assert [one.label for one in bank.rows] == sorted(one.label for one in bank.rows)
    np.testing.assert_allclose(bank.conditions[place], catalog.latents[[1, 2, 3]].mean(axis=0), atol=1e-6)
    assert bank.profiles[place, 4].item() == pytest.approx(0.6)
    assert all(row.is_labeled for row in label_bank(catalog, network).rows)


def test_a_catalog_of_another_detector_is_told(network: Htsat) -> None:
    catalog = made(network)
    check_mined_by(catalog, network)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        other = Htsat(CONFIG).eval()
    with pytest.raises(DataError, match="mined by another detector"):
        check_mined_by(catalog, other)


def test_kept_beside_the_weights(tmp_path: Path) -> None:
    rows = (BankRow(label="Bow-wow, “Wuff”", examples=7, ancestors=("Dog",)), BankRow(label="Rain", examples=3))
    bank = LabelBank(rows, torch.randn(2, 16), torch.rand(2, 4))
    assert read_label_bank(tmp_path, 16, 4) is None
    (tmp_path / BANK_NAME).write_bytes(bank.to_bytes())
    found = read_label_bank(tmp_path, 16, 4)
    assert found is not None
    assert found.rows == rows
    assert torch.equal(found.conditions, bank.conditions)
    assert torch.equal(found.profiles, bank.profiles)
    for sizes in ((17, 4), (16, 5)):
        with pytest.raises(WeightsError, match="another model"):
            read_label_bank(tmp_path, *sizes)
    content = bank.to_bytes()
    for damaged in (content[:100], b"", content.replace(b"rows", b"cows")):
        (tmp_path / BANK_NAME).write_bytes(damaged)
        with pytest.raises(WeightsError, match="damaged"):
            read_label_bank(tmp_path, 16, 4)


def test_a_joined_bank_keeps_the_newer_row_and_sorts_profiles_by_the_new_labels() -> None:
    bank = LabelBank(
        (BankRow(label="Bark", examples=3), BankRow(label="Rain", examples=4)), torch.ones(2, 5), torch.ones(2, 3)
    )
    other = LabelBank(
        (BankRow(label="Cat", examples=5), BankRow(label="Rain", examples=9)),
        torch.full((2, 5), 7.0),
        torch.tensor([[0.1, 0.2], [0.3, 0.4]]),
    )
    both = joined(bank, ("Bark", "Cat", "Rain"), other, ("Rain", "Cat"))
    assert [(row.label, row.examples) for row in both.rows] == [("Bark", 3), ("Cat", 5), ("Rain", 4)]
    assert both.conditions[:, 0].tolist() == [1, 7, 1]
    torch.testing.assert_close(both.profiles[1], torch.tensor([0.0, 0.2, 0.1]))
