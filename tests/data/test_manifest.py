from pathlib import Path

import pytest

from querysep.data.manifest import Clip, read_manifest, write_manifest
from querysep.errors import DataError, OutputError


def clip(**changes: object) -> Clip:
    fields: dict[str, object] = {
        "path": "audio/train/rain/a-0.flac",
        "labels": ("Rain",),
        "duration_s": 2.5,
        "licence": "GPL-2+",
        "source": "wesnoth-1.16-data",
        "origin": "wesnoth-1.16-data:rain",
        "split": "train",
    }
    return Clip.model_validate(fields | changes)


def test_a_manifest_comes_back_as_it_was_written(tmp_path: Path) -> None:
    clips = [
        clip(),
        clip(path="b.flac", labels=("Male speech, man speaking", "Speech"), split="test", held_out=True),
        clip(origin="Größe ☔"),
    ]
    write_manifest(clips, tmp_path / "manifest.jsonl")
    assert read_manifest(tmp_path / "manifest.jsonl") == clips
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]


def test_a_failed_write_leaves_the_old_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(part: Path, target: Path) -> None:
        raise OSError("the disk is full")

    path = tmp_path / "manifest.jsonl"
    write_manifest([clip()], path)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OutputError, match="full"):
        write_manifest([clip(), clip()], path)
    assert read_manifest(path) == [clip()]
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.jsonl"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('"duration_s":2.5', '"duration_s":0'),
        ('"split":"train"', '"split":"valid"'),
        ('"labels":["Rain"]', '"labels":[]'),
        ('"licence"', '"license"'),
        ('"path":"audio/', '"path":"../audio/'),
        ('"path":"audio/', '"path":"/audio/'),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, change: str, message: str) -> None:
    path = tmp_path / "manifest.jsonl"
    good = clip().model_dump_json()
    assert change in good
    path.write_text(good + "\n" + good.replace(change, message) + "\n")
    field = message.split('"')[1]
    with pytest.raises(DataError, match=rf"Line 2 of .*(?:{field}|licence)"):
        read_manifest(path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        read_manifest(tmp_path / "nowhere.jsonl")
