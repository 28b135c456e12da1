"""``querysep detect`` from end to end, with a tiny model."""

import csv
import json
from pathlib import Path

import pytest
from cli.running import Querysep
from recordings import WriteTone

LABELS = {"Dog", "Bell", "Rain", "Speech"}


def test_a_table_when_no_file_is_asked_for(querysep: Querysep, write_tone: WriteTone) -> None:
    done = querysep("detect", write_tone(seconds=3.0), "--threshold", "0.0")
    heads, *rows = done.stdout.splitlines()
    assert heads.split() == ["onset_s", "offset_s", "score", "label"]
    assert {row.split()[3] for row in rows} == LABELS
    assert all(row.split()[:2] == ["0.00", "3.00"] for row in rows)
    assert done.new_files == ()


def test_nothing_found_is_told(querysep: Querysep, write_tone: WriteTone) -> None:
    done = querysep("detect", write_tone(), "--threshold", "1.0")
    assert (done.code, len(done.stdout.splitlines())) == (0, 1)
    assert "lower --threshold" in done.stderr


def test_files_hold_the_same_events(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    files = [tmp_path / "new" / name for name in ("events.json", "events.csv", "events.png")]
    words = ("--json", files[0], "--csv", files[1], "--plot", files[2], "--threshold", "0.0")
    done = querysep("detect", write_tone(), *words)
    assert done.code == 0, done
    assert done.stdout.splitlines() == [str(file) for file in files]
    events = json.loads(files[0].read_text())
    assert {event["label"] for event in events} == LABELS
    with files[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["label"] for row in rows] == [event["label"] for event in events]
    assert [float(row["score"]) for row in rows] == pytest.approx([event["score"] for event in events], abs=1e-4)
    assert files[2].read_bytes().startswith(b"\x89PNG")


def test_one_file_for_two_purposes_is_refused(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    words = ("--json", tmp_path / "events", "--csv", tmp_path / "events")
    querysep("detect", write_tone(), *words).assert_refused("twice")


@pytest.mark.parametrize(("sample_rate", "channels", "seconds"), [(3_000, 1, 0.1), (192_000, 8, 0.5), (8_000, 1, 30.0)])
def test_any_form_of_recording(
    sample_rate: int, channels: int, seconds: float, querysep: Querysep, write_tone: WriteTone
) -> None:
    audio = write_tone(sample_rate=sample_rate, channels=channels, seconds=seconds)
    done = querysep("detect", audio, "--threshold", "0.0")
    assert done.code == 0, done
    assert done.stdout.splitlines()[1].split()[1] == f"{seconds:.2f}"
