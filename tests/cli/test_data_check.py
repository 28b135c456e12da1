"""``querysep data check``: a table, a JSON file, and an exit code for scripts."""

import json
from pathlib import Path

import numpy as np
import soundfile
from cli.running import Querysep
from recordings import WriteTone


def test_a_table_tells_kinds_files_and_what_to_do(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    for number in range(3):
        write_tone(f"set/dog/{number}.wav", frequency_hz=300 + 200 * number)
    soundfile.write(tmp_path / "set/dog/silent.wav", np.zeros(32_000), 32_000)
    (tmp_path / "set/dog/bad.wav").write_text("no sound")
    outcome = querysep("data", "check", tmp_path / "set", "--no-labels")
    assert outcome.code == 0
    for told in ("4 clips", "read as folders", "dog/silent.wav", "take it out", "dog/bad.wav", "few training clips"):
        assert told in outcome.stdout, told
    assert "every clip counts as training" in outcome.stderr
    assert querysep("data", "check", tmp_path / "set", "--no-labels", "--quiet").stderr == ""


def test_every_finding_is_in_the_json(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    for number in range(9):
        write_tone(f"set/dog/{number}.wav", seconds=0.1)
    out = tmp_path / "findings.json"
    outcome = querysep("data", "check", tmp_path / "set", "--no-labels", "--json", out)
    assert outcome.code == 0
    assert outcome.stdout.endswith(f"{out}\n")
    content = json.loads(out.read_text())
    assert content["clips"] == 9
    assert content["counts"]["too short"] == 9
    short = [one for one in content["findings"] if one["kind"] == "too short"]
    assert {one["path"] for one in short} == {f"dog/{number}.wav" for number in range(9)}
    assert all(one["detail"] and not one["hurts"] for one in short)
    querysep("data", "check", tmp_path / "set", "--no-labels", "--json", out).assert_refused("exists")


def test_strict_fails_only_where_training_is_spoilt(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    write_tone("set/dog/a.wav", frequency_hz=300)
    write_tone("set/dog/b.wav", frequency_hz=900, seconds=2.0)
    assert querysep("data", "check", tmp_path / "set", "--no-labels", "--strict").code == 0
    soundfile.write(tmp_path / "set/dog/silent.wav", np.zeros(32_000), 32_000)
    strict = querysep("data", "check", tmp_path / "set", "--no-labels", "--strict", "--json", tmp_path / "f.json")
    assert strict.code == 2
    assert "silent.wav" in strict.stdout
    assert strict.stderr.splitlines()[-1].startswith("querysep: error: ")
    assert (tmp_path / "f.json").is_file()


def test_labels_are_compared_by_a_detector(
    querysep: Querysep, write_tone: WriteTone, tmp_path: Path, tiny_model: Path
) -> None:
    for number in range(4):
        write_tone(f"set/low/{number}.wav", frequency_hz=200 + number, gain=0.2 + number / 50)
        noise = np.random.default_rng(number).standard_normal(32_000) * 0.2
        (tmp_path / "set/noise").mkdir(exist_ok=True)
        soundfile.write(tmp_path / f"set/noise/{number}.wav", noise, 32_000)
    soundfile.write(tmp_path / "set/low/wrong.wav", np.random.default_rng(9).standard_normal(32_000) * 0.2, 32_000)
    outcome = querysep("data", "check", tmp_path / "set", "--model", tiny_model)
    assert outcome.code == 0
    assert "low/wrong.wav: Labelled low, sounds like noise" in outcome.stdout


def test_what_cannot_be_read_as_a_data_set(querysep: Querysep, tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("name,loudness\na.wav,3\n")
    querysep("data", "check", tmp_path / "clips.csv").assert_refused("no column 'path'.*name, loudness")
    querysep("data", "check", tmp_path / "nowhere").assert_refused("no data set at")
    querysep("data", "check", tmp_path, "--layout", "esc51").assert_refused("esc50")
    querysep("data", "check", tmp_path, "--layout", "esc50").assert_refused("esc50.csv")
