"""AudioSet as people have it on the disk."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from recordings import WriteTone

from querysep.data.formats import DataFormat
from querysep.data.formats.data_set import open_recordings
from querysep.errors import DataError

RATE = 32_000
DOG, BARK, SPEECH, RAIN = "/m/0bt9lr", "/m/05tny_", "/m/09x0r", "/m/06mb1"
CLASSES = f'index,mid,display_name\n0,{SPEECH},"Speech"\n74,{DOG},"Dog"\n75,{BARK},"Bark"\n289,{RAIN},"Rain"\n'
HEAD = (
    "# Segments csv created Sun Mar  5 10:54:25 2017\n"
    "# num_ytids=3, num_segs=3\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)
ONTOLOGY = [
    {"id": "/m/0jbk", "name": "Animal", "child_ids": [DOG]},
    {"id": DOG, "name": "Dog", "child_ids": [BARK]},
    {"id": BARK, "name": "Bark", "child_ids": []},
    {"id": SPEECH, "name": "Speech", "child_ids": []},
]


def audioset(folder: Path, rows: list[str], name: str = "balanced_train_segments.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(HEAD + "\n".join(rows) + "\n")
    (folder / "class_labels_indices.csv").write_text(CLASSES)
    return folder


def test_audioset_with_files_missing(tmp_path: Path, write_tone: WriteTone) -> None:
    root = audioset(
        tmp_path / "as",
        [
            f'--PJHxphWEs, 30.000, 31.000, "{SPEECH},{DOG},{BARK}"',
            f'Yabcdefghij, 0.000, 1.000, "{RAIN}"',
            f'gone_gone-1, 5.000, 6.000, "{RAIN}"',
            "not a row",
        ],
    )
    audioset(root, [f'_b-_b-_b-_b, 2.000, 3.000, "{RAIN},/t/dd99999"'], "eval_segments.csv")
    (root / "ontology.json").write_text(json.dumps(ONTOLOGY))
    write_tone("as/audio/train/Y--PJHxphWEs.wav", seconds=1.0)
    write_tone("as/audio/train/Yabcdefghij.flac", seconds=1.0)
    write_tone("as/audio/eval/_b-_b-_b-_b_2.000.ogg", seconds=1.0)
    opened = open_recordings(root, RATE)
    assert opened.data_format is DataFormat.AUDIOSET
    assert [(clip.path, clip.labels, clip.split, clip.origin) for clip in opened.clips] == [
        ("audio/train/Y--PJHxphWEs.wav", ("Bark", "Dog", "Speech"), "train", "--PJHxphWEs"),
        ("audio/train/Yabcdefghij.flac", ("Rain",), "train", "Yabcdefghij"),
        ("audio/eval/_b-_b-_b-_b_2.000.ogg", ("Rain", "/t/dd99999"), "test", "_b-_b-_b-_b"),
    ]
    assert [(clip.start_s, clip.duration_s) for clip in opened.clips] == [(0.0, 1.0)] * 3
    assert [opened.read(index).size for index in range(3)] == [RATE] * 3
    assert {(one.path, one.kind) for one in opened.problems} == {
        ("gone_gone-1", "missing"),
        ("balanced_train_segments.csv:7", "row"),
    }
    assert any("/t/dd99999" in warning for warning in opened.warnings)


def test_audioset_segments_are_cut_from_longer_files(tmp_path: Path, write_tone: WriteTone) -> None:
    rows = [f'{"a" * 11}, 4.000, 6.000, "{DOG}"', f'{"b" * 11}, 4.000, 6.000, "{DOG}"']
    root = audioset(tmp_path / "as", rows)
    write_tone(f"as/wav/{'a' * 11}.wav", seconds=9.0, frequency_hz=500.0)
    opened = open_recordings(root, RATE)
    assert [clip.start_s for clip in opened.clips] == [4.0]
    recording, _ = soundfile.read(root / "wav" / f"{'a' * 11}.wav", dtype="int16")
    np.testing.assert_array_equal(opened.read(0), recording[4 * RATE : 6 * RATE])
    np.testing.assert_array_equal(opened.read(0, 100, 200), opened.read(0)[100:300])
    assert opened.read(0).size == 2 * RATE
    write_tone(f"as/wav/{'b' * 11}.wav", seconds=2.0)
    mixed = open_recordings(root, RATE)
    assert [mixed.read(index).size for index in range(2)] == [2 * RATE] * 2


def test_audioset_names_that_say_the_start(tmp_path: Path, write_tone: WriteTone) -> None:
    key = "Y_234567_9-1"[:11]
    root = audioset(tmp_path / "as", [f'{key}, 30.000, 31.000, "{DOG}"', f'{"c" * 11}, 10.000, 11.000, "{DOG}"'])
    write_tone(f"as/{key}_30000_31000.wav", seconds=1.0)
    write_tone(f"as/{key}_70000_71000.wav", seconds=1.0)
    write_tone(f"as/{'c' * 11}_99.wav", seconds=1.0)
    opened = open_recordings(root, RATE)
    assert [clip.path for clip in opened.clips] == [f"{key}_30000_31000.wav"]
    assert [(one.path, one.kind) for one in opened.problems] == [("c" * 11, "missing")]


def test_audioset_parts_and_audio_elsewhere(tmp_path: Path, write_tone: WriteTone) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    row = f'{"d" * 11}, 0.000, 1.000, "{DOG}"\n'
    (lists / "unbalanced_train_segments_part00.csv").write_text("empty\nempty\nempty\n" + row)
    (lists / "unbalanced_train_segments.csv").write_text(HEAD + row)
    write_tone(f"sound/Y{'d' * 11}.wav", seconds=1.0)
    assert open_recordings(lists, RATE, audio=tmp_path / "sound").clips[0].labels == ("Dog",)
    classes = tmp_path / "names.csv"
    classes.write_text(CLASSES.replace("Dog", "Hound"))
    opened = open_recordings(lists, RATE, audio=tmp_path / "sound", classes=classes)
    assert [clip.labels for clip in opened.clips] == [("Hound",)]
    assert [one.kind for one in opened.problems] == ["repeated"]
    classes.write_text("number,name\n1,Dog\n")
    with pytest.raises(DataError, match="index, mid and display_name"):
        open_recordings(lists, RATE, audio=tmp_path / "sound", classes=classes)
