"""Split: what is found becomes stems, and stems and rest are the mixture."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import WriteTone, tone

from querysep.detection.windows import PresenceMap
from querysep.errors import AudioError, ConfigError, OutputError
from querysep.model import load_model
from querysep.pipeline import Separator, SplitFiles
from querysep.pipeline.detector import Listener
from querysep.types import Audio, FloatArray

RATE = 32_000
FRAME_S = 0.25
LABELS = ("Dog", "Bell", "Rain", "Speech")


@pytest.fixture(scope="module")
def separator(tiny_model: Path) -> Separator:
    return Separator.load(tiny_model, "cpu")


def hear(monkeypatch: pytest.MonkeyPatch, seconds: float, **spans: tuple[float, float, float]) -> None:
    """Let the detector hear classes in spans: onset, offset, presence."""
    framewise = np.full((4, round(seconds / FRAME_S)), 0.01, np.float32)
    for label, (onset_s, offset_s, presence) in spans.items():
        framewise[LABELS.index(label), round(onset_s / FRAME_S) : round(offset_s / FRAME_S)] = presence
    heard = PresenceMap(framewise, FRAME_S, seconds, framewise.max(axis=1))
    monkeypatch.setattr(Listener, "finish", lambda self: heard)


def read(path: Path) -> FloatArray:
    return np.asarray(soundfile.read(path, dtype="float32", always_2d=True)[0].T)


def sum_of(files: SplitFiles) -> FloatArray:
    return np.asarray(np.sum([read(path).astype(np.float64) for path in (*files.stems.values(), files.rest)], axis=0))


@pytest.mark.parametrize(
    ("rate", "channels", "audio_format"),
    [(RATE, 1, "wav"), (44_100, 2, "wav"), (44_100, 2, "flac"), (8_000, 3, "flac")],
)
def test_stems_and_rest_are_the_mixture(
    separator: Separator,
    write_tone: WriteTone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rate: int,
    channels: int,
    audio_format: str,
) -> None:
    path = write_tone("mix.wav", seconds=6, sample_rate=rate, channels=channels, gain=0.9)
    hear(monkeypatch, 6, Dog=(0, 6, 0.9), Rain=(0, 6, 0.8), Speech=(1, 3, 0.7))
    files = separator.split_file(path, tmp_path / "out", format=audio_format)
    assert list(files.stems) == ["Dog", "Rain", "Speech"]
    assert np.abs(sum_of(files) - read(path)).max() <= 2**-23
    for stem in (*files.stems.values(), files.rest):
        assert read(stem).shape == read(path).shape
        assert 0 < np.square(read(stem)).sum() < np.square(read(path)).sum()
    split = separator.split(path)
    for label, stem in files.stems.items():
        np.testing.assert_allclose(split.stems[label].samples, read(stem), atol=2**-22)
    together = split.rest.samples + np.sum([stem.samples for stem in split.stems.values()], axis=0)
    np.testing.assert_allclose(together, read(path), atol=2**-23)
    names = {"mix.dog", "mix.rain", "mix.speech", "mix.rest"}
    assert {file.name for file in (tmp_path / "out").iterdir()} == {f"{name}.{audio_format}" for name in names} | {
        "mix.events.csv",
        "mix.report.json",
    }


def test_a_stem_is_silent_while_its_class_is_not_heard(
    separator: Separator, write_tone: WriteTone, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tone("mix.wav", seconds=30)
    hear(monkeypatch, 30, Dog=(10, 14, 0.9), Bell=(22, 24, 0.9))
    dog = separator.split(path).stems["Dog"].samples[0]
    np.testing.assert_allclose(dog[: round(9.5 * RATE)], 0, atol=1e-7)
    np.testing.assert_allclose(dog[round(14.5 * RATE) :], 0, atol=1e-7)
    assert np.square(dog[10 * RATE : 14 * RATE]).mean() > 1e-6


def test_where_masks_claim_the_same_the_surest_goes_first(
    separator: Separator, write_tone: WriteTone, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tone("mix.wav", seconds=4)
    hear(monkeypatch, 4, Dog=(0, 4, 0.7))
    alone = separator.split(path).stems["Dog"].samples
    hear(monkeypatch, 4, Dog=(0, 4, 0.7), Bell=(0, 4, 0.6), Rain=(0, 4, 0.8), Speech=(0, 4, 0.9))
    shared = separator.split(path)
    assert list(shared.stems) == ["Speech", "Rain", "Dog", "Bell"]
    assert np.square(shared.stems["Dog"].samples).sum() < 0.9 * np.square(alone).sum()
    assert sum(stem.energy_share for stem in shared.report.stems) <= 1.0
    hear(monkeypatch, 4, Dog=(0, 4, 0.95), Bell=(0, 4, 0.8), Rain=(0, 4, 0.8), Speech=(0, 4, 0.8))
    np.testing.assert_allclose(separator.split(path).stems["Dog"].samples, alone, atol=1e-6)


def test_the_table_and_the_report_say_what_sounds_when(
    separator: Separator, write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tone("mix.wav", seconds=8)
    hear(monkeypatch, 8, Rain=(0, 8, 0.6), Dog=(2, 3, 0.9), Bell=(5, 5.5, 0.4))
    files = separator.split_file(path, tmp_path / "out")
    with files.events.open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert rows == [
        {"onset_s": "0.000", "offset_s": "8.000", "label": "Rain", "score": "0.6000"},
        {"onset_s": "2.000", "offset_s": "3.000", "label": "Dog", "score": "0.9000"},
    ]
    report = json.loads(files.report_path.read_text())
    assert report == files.report.model_dump(mode="json")
    assert [event["label"] for event in report["events"]] == ["Rain", "Dog"]
    dog, rain = files.report.stems
    assert (rain.label, rain.classes, rain.present_s, rain.span_s) == ("Rain", ["Rain"], 8.0, None)
    assert dog.presence == pytest.approx(0.9) and dog.path == str(files.stems["Dog"])
    assert 0 < dog.energy_share < rain.energy_share < 1
    assert files.report.warnings == []


def test_levels_merge_and_name(
    separator: Separator, write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tone("mix.wav", seconds=4)
    hear(monkeypatch, 4, Dog=(0, 2, 0.9), Speech=(2, 4, 0.8))
    widest = separator.split_file(path, tmp_path / "1", level=1)
    assert {label: file.name for label, file in widest.stems.items()} == {
        "Animal": "mix.animal.wav",
        "Human sounds": "mix.human-sounds.wav",
    }
    assert widest.report.stems[0].classes == ["Dog"]
    assert set(separator.split(path, level=2).stems) == {"Domestic animals, pets", "Human voice"}
    with pytest.raises(ConfigError, match=r"no level 4.*1 \(widest"):
        separator.split(path, level=4)  # type: ignore[arg-type]


def test_what_is_left_over_or_not_found_is_told_and_in_the_rest(
    separator: Separator, write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_tone("mix.wav", seconds=4)
    hear(monkeypatch, 4, Dog=(0, 2, 0.9), Bell=(0, 4, 0.8), Rain=(0, 1, 0.6))
    most = separator.split_file(path, tmp_path / "most", max_stems=1)
    assert list(most.stems) == ["Bell"]
    assert any("2 more were found and stay in the rest: Dog, Rain" in warning for warning in most.report.warnings)
    assert {event.label for event in most.report.events} == {"Dog", "Bell", "Rain"}
    assert list(separator.split(path, threshold=0.85).stems) == ["Dog"]
    hear(monkeypatch, 4)
    none = separator.split_file(path, tmp_path / "none")
    assert none.stems == {}
    np.testing.assert_array_equal(read(none.rest), read(path))
    assert none.events.read_text() == "onset_s,offset_s,label,score\n"
    assert any("Nothing reaches a presence of 0.5" in warning for warning in none.report.warnings)
    for wrong in ({"max_stems": 0}, {"threshold": 0.0}, {"threshold": 1.5}):
        with pytest.raises(ConfigError):
            separator.split(path, **wrong)


def test_a_silent_mixture_gives_a_silent_rest(separator: Separator, monkeypatch: pytest.MonkeyPatch) -> None:
    hear(monkeypatch, 2, Dog=(0, 2, 0.9))
    split = separator.split(np.zeros((2, 2 * RATE)), sample_rate=RATE)
    assert split.stems == {}
    assert split.rest.samples.shape == (2, 2 * RATE)
    assert any("silent" in warning for warning in split.report.warnings)


def test_without_a_bank_the_clearest_span_asks(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = replace(load_model(tiny_model, "cpu"), label_bank=None)
    sound = np.zeros((1, 4 * RATE), np.float32)
    sound[:, : 2 * RATE] = tone(2, RATE, 1).T
    hear(monkeypatch, 4, Dog=(0.5, 1.5, 0.9), Bell=(2.5, 4, 0.9))
    split = Separator(model).split(Audio(sound, RATE))
    (dog,) = split.report.stems
    assert (dog.label, dog.span_s) == ("Dog", (0.5, 1.5))
    assert any("nor loud enough to listen to, so in the rest: Bell" in warning for warning in split.report.warnings)
    asked = Separator(model).separate(Audio(sound, RATE), "span:0.5-1.5", keep_absent=True).target.samples
    middle = slice(round(0.6 * RATE), round(1.4 * RATE))
    np.testing.assert_allclose(split.stems["Dog"].samples[:, middle], asked[:, middle], atol=1e-5)


@pytest.mark.parametrize("time", [1, 300])
def test_very_short_mixtures(separator: Separator, monkeypatch: pytest.MonkeyPatch, time: int) -> None:
    hear(monkeypatch, FRAME_S, Dog=(0, FRAME_S, 0.9))
    split = separator.split(np.full((1, time), 0.1), sample_rate=RATE)
    whole = split.rest.samples + sum(stem.samples for stem in split.stems.values())
    np.testing.assert_allclose(whole, 0.1, atol=1e-6)


def test_nothing_is_replaced_or_left_half_written(
    separator: Separator, write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = write_tone("mix.wav", seconds=4), tmp_path / "out"
    hear(monkeypatch, 4, Dog=(0, 4, 0.9))

    def interrupt(done: float, total: float | None, what: str) -> None:
        if what == "separating":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        separator.split_file(path, out, progress=interrupt)
    assert not out.exists()
    out.mkdir()
    (out / "mix.dog.wav").write_bytes(b"mine")
    with pytest.raises(OutputError, match="--overwrite"):
        separator.split_file(path, out)
    assert [file.name for file in out.iterdir()] == ["mix.dog.wav"]
    assert (out / "mix.dog.wav").read_bytes() == b"mine"
    separator.split_file(path, out, overwrite=True)
    assert read(out / "mix.dog.wav").shape == (1, 4 * RATE)
    soundfile.write(tmp_path / "loud.wav", tone(1.0, RATE, 1, gain=2.0), RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match="exceeds full scale"):
        separator.split_file(tmp_path / "loud.wav", tmp_path / "flac", format="flac")
    assert not (tmp_path / "flac").exists()
