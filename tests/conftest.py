"""What all tests share: shape checks at run time, seeds and small recordings."""

import shutil
from pathlib import Path
from typing import runtime_checkable

import numpy as np
import pytest
import soundfile
from jaxtyping import install_import_hook
from recordings import WriteTone, tone

# Every call to a function of ours is checked against its annotations, shapes and all: before any import of querysep.
install_import_hook("querysep", "shape_checks.check")

import querysep.progress  # noqa: E402

runtime_checkable(querysep.progress.Progress)  # or the checker could not tell a callable from something else


@pytest.fixture
def seeded() -> None:
    """Set torch's and numpy's seeds, for tests whose code draws random numbers."""
    import torch

    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002


@pytest.fixture
def write_tone(tmp_path: Path) -> WriteTone:
    """A function that writes a small recording below the test's folder and returns its path."""

    def write(
        name: str = "mixture.wav",
        *,
        seconds: float = 1.0,
        sample_rate: int = 32_000,
        channels: int = 1,
        frequency_hz: float = 440.0,
        gain: float = 0.3,
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, tone(seconds, sample_rate, channels, frequency_hz, gain), sample_rate)
        return path

    return write


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of a few thousand random parameters, with a label bank, and a presence gate that stays open."""
    import torch
    from calibrations import open_calibration

    from querysep.detection.build import build_detector
    from querysep.detection.config import HtsatConfig
    from querysep.io.label_bank import BankRow, LabelBank
    from querysep.io.presence_calibration import write_presence
    from querysep.model import ModelConfig, ModelShape, save_model
    from querysep.separation.build import build_separator
    from querysep.separation.config import CompactConfig

    shape = ModelShape(
        detector=HtsatConfig(
            n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, classes=4
        ),
        separator=CompactConfig(channels=(8, 16), condition_dim=16, condition_hidden=16, presence_dim=8),
    )
    labels = ("Dog", "Bell", "Rain", "Speech")
    config = ModelConfig(name="tiny", licence="none", trained_on="nothing", labels=labels, shape=shape)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        rows = tuple(BankRow(label=label, examples=5 + place) for place, label in enumerate(labels))
        bank = LabelBank(rows, torch.randn(4, 16), torch.rand(4, 4))
        networks = build_detector(shape.detector), build_separator(shape.separator)
        save_model(folder, config, *networks, "# Tiny\n", label_bank=bank)
    write_presence(folder, open_calibration(folder))
    return folder


@pytest.fixture(scope="session")
def talking_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a few words for its classes."""
    from querysep.data.ontology import Ontology
    from querysep.io.text_map import TEXT_NAME
    from querysep.model import load_model
    from querysep.queries.text_training import Phrase, train_text_map

    folder = tmp_path_factory.mktemp("models") / "talking"
    shutil.copytree(tiny_model, folder)
    bank = load_model(folder, "cpu").label_bank
    assert bank is not None
    phrases = [Phrase("Dog", "a hound is barking"), Phrase("Bell", "church bells"), Phrase("Rain", "rain falls")]
    (folder / TEXT_NAME).write_bytes(train_text_map(bank, phrases, ontology=Ontology([])).text_map.to_bytes())
    return folder


@pytest.fixture
def street(write_tone: WriteTone, tmp_path: Path, talking_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files that the examples in README and docs name, and a tiny model in the place of the bundled one."""
    write_tone("street.wav", seconds=5.0, channels=2)
    for number, name in enumerate(("dog.wav", "another-dog.wav", "bell.wav", "barks/1.wav", "barks/2.wav")):
        write_tone(name, frequency_hz=300.0 + 100 * number)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QUERYSEP_BANK", str(tmp_path / "bank"))
    monkeypatch.setattr("querysep.model.bundled_models", lambda: {"default": talking_model})
