import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from typer.testing import CliRunner

from querysep.cli.main import app
from querysep.data.manifest import Clip, Split, write_manifest
from querysep.data.statistics import loudness_db, measure
from querysep.errors import DataError

RATE = 1_000


def clip(name: str, labels: tuple[str, ...], seconds: float, split: Split = "train", **more: object) -> Clip:
    row = {"licence": "CC0-1.0", "source": "box", "origin": name, **more}
    return Clip.model_validate({"path": name, "labels": labels, "duration_s": seconds, "split": split, **row})


class Levels:
    """Clips of one level each; a level of None cannot be read."""

    sample_rate = RATE

    def __init__(self, clips: Sequence[Clip], levels: Sequence[float | None]) -> None:
        self.clips = clips
        self.levels = levels

    def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
        level = self.levels[index]
        if level is None:
            raise DataError("gone")
        return np.full(count or 10, round(level * 32_768), dtype=np.int16)


@pytest.mark.parametrize(("level", "db"), [(0.5, -6.0), (0.1, -20.0), (0.0, -120.0)])
def test_loudness_is_rms_re_full_scale(level: float, db: float) -> None:
    samples = np.full(100, round(level * 32_768), dtype=np.int16)
    assert loudness_db(samples) == pytest.approx(db, abs=0.05)


def test_silence_in_a_clip_makes_it_less_loud() -> None:
    samples = np.zeros(100, dtype=np.int16)
    samples[:50] = 16_384
    assert loudness_db(samples) == pytest.approx(-9.0, abs=0.05)


def test_clips_are_counted_by_class_split_and_licence() -> None:
    clips = [
        clip("a", ("Rain", "Water"), 36.0),
        clip("b", ("Rain", "Water"), 72.0, "test", licence=""),
        clip("c", ("Water",), 36.0, "validation"),
        clip("d", ("Drum",), 18.0, source="rendered:font", held_out=True),
    ]
    found = measure(Levels(clips, [0.5, 0.1, None, 0.5]))
    assert found.clips == 4 and found.hours == pytest.approx(0.045)
    assert {split: amount.clips for split, amount in found.splits.items()} == {"test": 1, "train": 2, "validation": 1}
    assert found.rendered.clips == 1
    assert list(found.licences) == ["CC0-1.0", "not stated"]
    assert found.licences["not stated"].hours == pytest.approx(0.02)
    rain, water, drum = found.classes
    assert [rain.label, water.label, drum.label] == ["Rain", "Water", "Drum"]
    assert rain.duration_s.median == pytest.approx(54.0)
    assert rain.loudness_db is not None
    assert rain.loudness_db.median == pytest.approx(-13.0, abs=0.1)
    assert rain.origins == {"test": 1, "train": 1}
    assert (water.splits["validation"].clips, water.also_labelled.clips, water.loudness_db) == (1, 3, None)
    assert drum.held_out
    assert (found.measured, found.unreadable) == (3, ("c",))


def test_a_shared_origin_is_a_leak_and_no_origin_is_none() -> None:
    clips = [
        clip("a", ("Rain",), 1.0, origin="x"), clip("b", ("Rain",), 1.0, "test", origin="x"),
        clip("c", ("Rain",), 1.0, origin=""), clip("d", ("Rain",), 1.0, "test", origin=""),
    ]  # fmt: skip
    assert measure(Levels(clips, [0.1] * 4)).shared_origins == ("x",)


def test_only_so_many_clips_are_measured() -> None:
    clips = [clip(str(index), ("Rain",), 1.0) for index in range(10)]
    assert measure(Levels(clips, [0.1] * 10), most=3).measured == 3
    assert measure(Levels(clips, [0.1] * 10), most=0).loudness_db is None


def test_no_clips_are_told() -> None:
    with pytest.raises(DataError, match="no clips"):
        measure(Levels([], []))


def test_stats_prints_a_table_and_draws(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    rows = []
    kinds: list[tuple[str, Split]] = [("Rain", "train"), ("Rain", "test"), ("Dog", "train")]
    for index, (label, split) in enumerate(kinds):
        soundfile.write(folder / f"{index}.wav", np.full(16_000, 0.1), 32_000)
        rows.append(clip(f"{index}.wav", (label,), 0.5, split))
    write_manifest(rows, folder / "manifest.jsonl")
    done = CliRunner().invoke(app, ["data", "stats", str(folder), "-o", str(tmp_path / "out"), "--quiet"])
    assert done.exit_code == 0, done.output
    assert "3 clips, 0.00 hours, 2 classes: test 1 clips 0.00 h, train 2 clips 0.00 h" in done.output
    written = json.loads((tmp_path / "out" / "stats.json").read_text())
    assert written["loudness_db"]["median"] == pytest.approx(-20.0, abs=0.1)
    for name in ("classes", "spreads", "licences"):
        assert (tmp_path / "out" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
