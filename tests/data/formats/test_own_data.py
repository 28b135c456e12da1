"""Folders and lists of one's own: labels, splits, and what cannot be taken."""

from pathlib import Path

import pytest
from recordings import WriteTone

from querysep.data.formats import DataFormat
from querysep.data.formats.data_set import OpenedRecordings, open_recordings
from querysep.errors import DataError

RATE = 32_000


def facts(opened: OpenedRecordings) -> list[tuple[str, tuple[str, ...], str]]:
    return [(clip.path, clip.labels, clip.split) for clip in opened.clips]


def test_a_folder_for_each_class_with_parents(tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone("set/animals/dog/a.wav", seconds=0.5, sample_rate=44_100, channels=2)
    write_tone("set/animals/b.flac", seconds=0.25)
    write_tone("set/rain/c.ogg", seconds=0.25)
    write_tone("set/loose.wav", seconds=0.25)
    (tmp_path / "set/rain/notes.txt").write_text("wet")
    (tmp_path / "set/rain/.hidden.wav").touch()
    opened = open_recordings(tmp_path / "set", RATE)
    assert opened.data_format is DataFormat.FOLDERS
    assert sorted(facts(opened)) == [
        ("animals/b.flac", ("animals",), "train"),
        ("animals/dog/a.wav", ("dog", "animals"), "train"),
        ("rain/c.ogg", ("rain",), "train"),
    ]
    assert [(one.path, one.kind) for one in opened.problems] == [("loose.wav", "unlabelled")]
    assert any(".txt (1)" in warning for warning in opened.warnings)
    assert {clip.path: clip.duration_s for clip in opened.clips}["animals/dog/a.wav"] == pytest.approx(0.5)


def test_folders_called_train_and_test_are_splits(tmp_path: Path, write_tone: WriteTone) -> None:
    for name in ("train/dog/a.wav", "Validation/dog/b.wav", "test/cat/c.wav"):
        write_tone(f"set/{name}", seconds=0.1)
    opened = open_recordings(tmp_path / "set", RATE)
    assert {(clip.labels, clip.split) for clip in opened.clips} == {
        (("dog",), "train"),
        (("dog",), "validation"),
        (("cat",), "test"),
    }
    assert [clip.path for clip in open_recordings(tmp_path / "set", RATE, split="test").clips] == ["test/cat/c.wav"]


def test_a_class_called_test_beside_others_is_a_class(tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone("set/test/a.wav", seconds=0.1)
    write_tone("set/dog/b.wav", seconds=0.1)
    assert {clip.labels for clip in open_recordings(tmp_path / "set", RATE).clips} == {("test",), ("dog",)}


def test_a_list_of_ones_own(tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone("sounds/a.wav", seconds=1.0)
    write_tone("sounds/b.wav", seconds=1.0)
    (tmp_path / "clips.csv").write_text(
        "Path,labels,start_s,end_s,split,license,origin,mood\n"
        "sounds/a.wav,Dog;Animal,0.25,0.75,valid,CC0,park,glad\n"
        'sounds/b.wav,"Male speech, man speaking;Speech",,,test,CC-BY-4.0,,calm\n'
        "sounds/gone.wav,Dog,,,train,,,\n"
        "sounds/a.wav,,,,train,,,\n"
        "sounds/a.wav,Dog,5,6,train,,,\n"
        "sounds/a.wav,Dog,0.5,0.2,train,,,\n"
        "sounds/a.wav,Dog,,,trial,,,\n"
    )
    opened = open_recordings(tmp_path / "clips.csv", RATE)
    assert opened.data_format is DataFormat.TABLE
    first, second = opened.clips
    assert (first.labels, first.split, first.licence, first.origin) == (("Dog", "Animal"), "validation", "CC0", "park")
    assert (first.start_s, first.duration_s) == (0.25, 0.5)
    assert (second.labels, second.split) == (("Male speech, man speaking", "Speech"), "test")
    whole = opened.read(1)
    assert opened.read(0).shape == (16_000,)
    assert whole.shape == (32_000,)
    assert [one.kind for one in opened.problems] == ["missing", "unlabelled", "row", "row", "row"]
    assert [one.path.rsplit(":", 1)[-1] for one in opened.problems[-2:]] == ["7", "8"]
    assert any("mood" in warning for warning in opened.warnings)


def test_json_lines_with_files_elsewhere(tmp_path: Path, write_tone: WriteTone) -> None:
    sound = write_tone("elsewhere/a.wav", seconds=0.25)
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "mine.jsonl"
    path.write_text(
        f'{{"file": "{sound}", "labels": ["Dog", "Animal"]}}\n{{"file": "../elsewhere/a.wav", "label": 3}}\n'
    )
    opened = open_recordings(path, RATE)
    assert [clip.labels for clip in opened.clips] == [("Dog", "Animal")]
    assert opened.read(0).shape == (8_000,)
    assert [one.kind for one in opened.problems] == ["unlabelled"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,loudness\na.wav,3\n", r"no column 'labels'.*file, loudness"),
        ("name,label\na.wav,3\n", r"no column 'path'.*name, label"),
        ("path,label\n", "no rows"),
        ("path,label\nnone.wav,Dog\n", r"none of its 1 clips.*none\.wav"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "clips.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        open_recordings(tmp_path / "clips.csv", RATE)


def test_commas_part_labels_only_where_nothing_else_does(tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone("a.wav", seconds=0.1)
    (tmp_path / "many.csv").write_text("path\tlabels\na.wav\tDog,Animal\na.wav\tChirp, tweet\n")
    (tmp_path / "one.csv").write_text('path,label\na.wav,"Male speech, man speaking"\n')
    many, one = open_recordings(tmp_path / "many.csv", RATE), open_recordings(tmp_path / "one.csv", RATE)
    assert [clip.labels for clip in many.clips] == [("Dog", "Animal"), ("Chirp, tweet",)]
    assert any("split at ','" in warning for warning in many.warnings)
    assert one.clips[0].labels == ("Male speech, man speaking",)
