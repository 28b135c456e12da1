"""``querysep labels``, and asking by them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli.running import Querysep
from recordings import WriteTone

from querysep.anchors.catalog import Anchor
from querysep.anchors.catalog_writer import CatalogWriter
from querysep.detection.windows import embed
from querysep.io.label_bank import BANK_NAME
from querysep.model import load_model


@pytest.fixture
def bare_model(tiny_model: Path, tmp_path: Path) -> Path:
    """The tiny model without its label bank."""
    folder = tmp_path / "bare"
    shutil.copytree(tiny_model, folder)
    (folder / BANK_NAME).unlink()
    return folder


def write_catalog(folder: Path, model: Path, *, latents: float = 1.0, clips: int = 4) -> Path:
    """Three classes' anchors of noise, two of them kinds of one, as mining leaves them."""
    import torch

    detector = load_model(model, "cpu").detector
    rng = np.random.default_rng(0)
    with CatalogWriter(
        folder, sample_rate=32_000, segment_time=64_000, latent_dim=16, detector="d", settings={}
    ) as writer:
        for number, labels in enumerate((("Dog", "Animal"), ("Goat", "Animal"), ("Rain",))):
            names = [f"{number}-{clip}" for clip in range(clips)]
            audio = (rng.standard_normal((clips, 64_000)) * 3_000).astype(np.int16)
            heard = embed(detector, torch.from_numpy(audio.astype(np.float32) / 32_768)).numpy()
            rows = [
                Anchor(
                    label=labels[0],
                    labels=labels,
                    heard=labels[:1],
                    clip=name,
                    origin=name,
                    start_s=0.0,
                    sounding=64_000,
                    score=0.5,
                    purity=0.5,
                )
                for name in names
            ]
            writer.append(rows, audio, (heard * latents).astype(np.float32), names)
        writer.finish()
    return folder


def test_the_list_names_classes_then_parents(querysep: Querysep) -> None:
    heads, *rows = querysep("labels").stdout.splitlines()
    assert heads.split() == ["label", "examples", "classes", "is", "a"]
    assert [row.split()[:3] for row in rows[:4]] == [
        ["Bell", "6", "1"],
        ["Dog", "5", "1"],
        ["Rain", "7", "1"],
        ["Speech", "8", "1"],
    ]
    assert rows[1].endswith("Domestic animals, pets; Animal")
    assert ["Animal", "1"] in [row.split() for row in rows[4:]]


def test_a_model_without_labels_says_so(querysep: Querysep, bare_model: Path, write_tone: WriteTone) -> None:
    done = querysep("labels", "--model", bare_model)
    assert done.stdout.splitlines() == ["Bell", "Dog", "Rain", "Speech"]
    assert "--build" in done.stderr
    refused = querysep("separate", write_tone(), "-q", "label:Dog", "--model", bare_model)
    refused.assert_refused(r"no label bank.*labels --build")


def test_labels_are_built_from_a_catalog(querysep: Querysep, bare_model: Path, tmp_path: Path) -> None:
    catalog = write_catalog(tmp_path / "anchors", bare_model)
    done = querysep("labels", "--model", bare_model, "--build", catalog)
    assert done.code == 0, done
    assert done.new_files == (f"bare/{BANK_NAME}",)
    assert ["Animal", "2"] in [line.split() for line in done.stdout.splitlines()]
    bank = load_model(bare_model, "cpu").label_bank
    assert bank is not None
    labeled = [(row.label, row.examples) for row in bank.rows if row.is_labeled]
    assert labeled == [("Dog", 4), ("Goat", 4), ("Rain", 4)]
    (other,) = (row for row in bank.rows if row.label == "Speech")  # which the random detector hears everywhere
    assert f"~{other.examples}" in done.stdout


def test_what_labels_cannot_be_built_from(querysep: Querysep, bare_model: Path, tmp_path: Path) -> None:
    querysep("labels", "--model", bare_model, "--build", tmp_path).assert_refused("no anchor catalog")
    other = write_catalog(tmp_path / "other", bare_model, latents=-1.0)
    querysep("labels", "--model", bare_model, "--build", other).assert_refused("another detector")


def test_a_label_asks_for_its_classes(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    done = querysep("separate", write_tone(), "-q", "label:DOGS", "--not", "label:rain", "-o", tmp_path / "out")
    assert done.code == 0, done
    report = json.loads((tmp_path / "out" / "mixture.report.json").read_text())
    assert [example["name"] for example in report["queries"][0]["examples"]] == ["Dog"]
    assert report["not_queries"][0]["text"] == "label:rain"
    querysep("separate", write_tone(), "-q", "label:Dgo").assert_refused("Closest: 'Dog'")
