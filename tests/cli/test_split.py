"""``querysep split`` and ``querysep calibrate`` from end to end, with a tiny model."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli.running import Querysep, files_below
from recordings import WriteTone
from synthetic_set import make_set

from querysep.model import load_detector, load_model, save_detector, save_model

STEP = 2.0**-23


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_stdout_names_what_was_written(
    querysep: Querysep, write_tone: WriteTone, tmp_path: Path, audio_format: str
) -> None:
    mixture, out = write_tone(seconds=3.0, channels=2, sample_rate=44_100), tmp_path / "out"
    words = ("-o", out, "--threshold", "0.05", "--max", "2", "--format", audio_format, "--plot")
    done = querysep("split", mixture, *words)
    assert done.code == 0, done
    written = [Path(line) for line in done.stdout.splitlines() if line.startswith(str(out))]
    assert {path.name for path in written} == files_below(out)
    sounds = [path for path in written if path.suffix == f".{audio_format}"]
    assert len(sounds) == 3
    assert [path.name for path in written[-4:]] == [
        f"mixture.rest.{audio_format}",
        "mixture.events.csv",
        "mixture.report.json",
        "mixture.png",
    ]
    whole = soundfile.read(mixture)[0]
    assert np.abs(np.sum([soundfile.read(path)[0] for path in sounds], axis=0) - whole).max() <= STEP
    report = json.loads((out / "mixture.report.json").read_text())
    table = done.stdout.splitlines()[len(written) :]
    assert table[0].split() == ["stem", "present_s", "presence"]
    assert len(table) == 1 + len(report["stems"]) == 3
    assert "stay in the rest" in done.stderr


def test_nothing_found_is_told_and_the_rest_is_written(
    querysep: Querysep, write_tone: WriteTone, tmp_path: Path
) -> None:
    done = querysep("split", write_tone(), "-o", tmp_path / "out", "--threshold", "1")
    assert done.code == 0
    assert files_below(tmp_path / "out") == {"mixture.rest.wav", "mixture.events.csv", "mixture.report.json"}
    assert "Nothing reaches a presence of 1, so all is in the rest" in done.stderr
    querysep("split", tmp_path / "mixture.wav", "-o", tmp_path / "out", "--quiet").assert_refused("exists already")


def test_mistakes_are_told_in_one_line(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    mixture, out = write_tone(), tmp_path / "out"
    querysep("split", tmp_path / "none.wav", "-o", out).assert_refused("no file")
    querysep("split", mixture, "-o", out, "--level", "4").assert_refused("level")
    querysep("split", mixture, "-o", out, "--max", "0").assert_refused("max")
    querysep("split", mixture, "-o", out, "--threshold", "0").assert_refused("threshold")


def test_calibrate_writes_beside_the_weights(querysep: Querysep, tiny_model: Path, tmp_path: Path) -> None:
    model, data = shutil.copytree(tiny_model, tmp_path / "model"), tmp_path / "data"
    (model / "presence.json").unlink()
    data.mkdir()
    make_set(data, train=2, test=0)
    done = querysep("calibrate", data, "--model", model, "--mixtures", "20")
    assert done.code == 0, done
    assert done.new_files == ("model/presence.json",)
    assert done.stdout.startswith(f"{model / 'presence.json'}\n")
    assert "queries; present scores above absent in" in done.stdout
    assert "no validation side" in done.stderr
    assert "thresholds of the classes were not fitted: The train side has recordings of 0 class" in done.stderr
    (validated := tmp_path / "validated").mkdir()
    make_set(validated, train=2, test=0, validation=2)
    assert "no validation side" not in querysep("calibrate", validated, "--model", model, "--mixtures", "20").stderr
    querysep("calibrate", tmp_path / "none", "--model", model).assert_refused("no data set")


def test_calibrate_fits_what_the_classes_need(querysep: Querysep, tiny_model: Path, tmp_path: Path) -> None:
    known = load_model(tiny_model, "cpu")
    labels = ("Low tone", "High tone", "Clicks", "Sound")
    config = known.config.model_copy(update={"labels": labels})
    save_model(tmp_path / "model", config, known.detector, known.separator, "")
    save_detector(tmp_path / "ears", known.detector, labels)
    (data := tmp_path / "data").mkdir()
    make_set(data, train=2, test=0, validation=2)
    words = ("calibrate", data, "--mixtures", "20", "--soundscapes", "4", "--model")
    done = querysep(*words, tmp_path / "model")
    assert done.code == 0, done
    assert set(done.new_files) == {"model/presence.json", "model/events.json"}
    assert "4 soundscapes; event F1, mean of 4 classes" in done.stdout
    assert load_model(tmp_path / "model", "cpu").events is not None
    done = querysep(*words, tmp_path / "ears")
    assert done.new_files == ("ears/events.json",)
    assert load_detector(tmp_path / "ears").events is not None
    (tmp_path / "empty").mkdir()
    make_set(tmp_path / "empty", train=1, test=0)
    save_detector(tmp_path / "deaf", known.detector, known.labels)
    querysep("calibrate", tmp_path / "empty", "--model", tmp_path / "deaf").assert_refused("0 class that the detector")
