"""The bundled weights do on the demo's real recordings what they are there for."""

from pathlib import Path

import pytest
import soundfile

from querysep.evaluation.metrics.signal import snr_db
from querysep.io.audio_reader import read_audio
from querysep.model import bundled_models, load_model
from querysep.pipeline import Separation, Separator
from querysep.queries.text import understand

DEMO = Path(__file__).parents[2] / "examples" / "demo"


@pytest.fixture(scope="module")
def separation() -> Separation:
    return Separator.load(device="cpu").separate(DEMO / "mixture.flac", DEMO / "query.flac")


def test_they_are_small_and_say_where_they_come_from() -> None:
    folder = bundled_models()["default"]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 40e6
    config = load_model("default", "cpu").config
    assert len(config.labels) >= 40
    assert "CC-BY-SA" in config.licence
    assert "| package | licence | clips |" in (folder / "ATTRIBUTION.md").read_text()
    assert config.licence in (folder / "README.md").read_text()


def test_they_are_calibrated() -> None:
    assert load_model("default", "cpu").presence is not None, "run `querysep calibrate DATA` after changing the weights"


def test_words_fit_the_labels() -> None:
    model = load_model("default", "cpu")
    assert model.label_bank is not None and model.text_map is not None
    labels = [row.label for row in model.label_bank.rows]
    for words, label in [
        ("soft chords on the grand piano", "Piano"),
        ("somebody walks up the stairs", "Walk, footsteps"),
    ]:
        meaning = understand(words, model.label_bank, model.text_map)  # refused, unless made for these labels
        assert labels[meaning.classes[0][0]] == label
        assert meaning.warnings == ()


@pytest.mark.parametrize("part", ["target", "residual"])
def test_both_parts_of_the_demo_improve(separation: Separation, part: str) -> None:
    truth = read_audio(DEMO / f"{part}.flac").samples
    mixture = read_audio(DEMO / "mixture.flac").samples
    improvement_db = snr_db(truth, getattr(separation, part).samples) - snr_db(truth, mixture)
    assert improvement_db > 3.0


def test_the_query_decides_what_comes_out(separation: Separation) -> None:
    other = Separator.load(device="cpu").separate(DEMO / "mixture.flac", DEMO / "bird-query.flac")
    helicopter, birds = (read_audio(DEMO / f"{part}.flac").samples for part in ("target", "residual"))
    assert snr_db(birds, other.target.samples) > snr_db(birds, separation.target.samples) + 3.0
    assert snr_db(helicopter, separation.target.samples) > snr_db(helicopter, other.target.samples) + 3.0


def test_the_mixture_has_rate_channels_and_length_of_the_parts(separation: Separation) -> None:
    facts = soundfile.info(DEMO / "mixture.flac")
    for part in (separation.target, separation.residual):
        assert part.samples.shape == (facts.channels, facts.frames)
        assert part.sample_rate == facts.samplerate
