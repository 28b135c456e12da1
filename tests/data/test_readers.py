"""Public data sets in the layout in which people have them on the disk."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import soundfile
from recordings import WriteTone

from querysep.data.layouts import Layout
from querysep.data.ontology import audioset as carried
from querysep.data.opening import open_recordings
from querysep.data.readers.esc50 import DISPLAY_NAMES
from querysep.data.readers.fsd50k import display_name
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
    assert opened.layout is Layout.AUDIOSET
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


@pytest.fixture
def fsd50k(tmp_path: Path, write_tone: WriteTone) -> Path:
    root = tmp_path / "fsd"
    for folder in ("FSD50K.ground_truth", "FSD50K.metadata"):
        (root / folder).mkdir(parents=True)
    (root / "FSD50K.ground_truth/vocabulary.csv").write_text("0,Walk_and_footsteps,/m/07pbtc8\n")
    (root / "FSD50K.ground_truth/dev.csv").write_text(
        "fname,labels,mids,split\n"
        '64760,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train\n'
        '16399,"Walk_and_footsteps,Dishes_and_pots_and_pans","/m/07pbtc8,/m/04brg2",val\n'
        '404,"Rain","/m/06mb1",train\n'
    )
    (root / "FSD50K.ground_truth/eval.csv").write_text('fname,labels,mids\n99,"Fill_(with_liquid)","/x/unknown"\n')
    by = "http://creativecommons.org/licenses/by/3.0/"
    zero = "http://creativecommons.org/publicdomain/zero/1.0/"
    info: dict[str, Any] = {
        "64760": {"title": "g", "license": by, "uploader": "plagasul"},
        "16399": {"license": zero, "uploader": "plagasul"},
    }
    (root / "FSD50K.metadata/dev_clips_info_FSD50K.json").write_text(json.dumps(info))
    for name in ("dev_audio/64760", "dev_audio/16399", "eval_audio/99"):
        write_tone(f"fsd/FSD50K.{name}.wav", seconds=0.2, sample_rate=44_100)
    return root


def test_fsd50k(fsd50k: Path) -> None:
    opened = open_recordings(fsd50k, RATE)
    assert opened.layout is Layout.FSD50K
    assert [(clip.labels, clip.split, clip.licence, clip.origin) for clip in opened.clips] == [
        (("Electric guitar", "Guitar", "Music"), "train", "CC-BY-3.0", "freesound:plagasul"),
        (("Walk, footsteps", "Dishes, pots, and pans"), "validation", "CC0-1.0", "freesound:plagasul"),
        (("Fill (with liquid)",), "test", "", "freesound:99"),
    ]
    assert [(one.path, one.kind) for one in opened.problems] == [("FSD50K.dev_audio/404.wav", "missing")]
    assert any("eval_clips_info" in warning for warning in opened.warnings)
    assert opened.read(0).size == 6_400
    (fsd50k / "class_labels_indices.csv").write_text("index,mid,display_name\n0,/m/06mb1,Rain\n1,/m/02sgy,E-guitar\n")
    assert open_recordings(fsd50k, RATE).clips[0].labels[0] == "E-guitar"


def test_fsd50k_with_a_broken_list(fsd50k: Path) -> None:
    (fsd50k / "FSD50K.ground_truth/dev.csv").write_text("fname,labels\n1,Rain\n")
    with pytest.raises(DataError, match="lacks the columns mids"):
        open_recordings(fsd50k, RATE)


def test_display_names_of_esc50_and_fsd50k_are_audiosets() -> None:
    assert {name for names in DISPLAY_NAMES.values() for name in names} <= set(carried().names)
    for ours, theirs in {
        "Bird_vocalization_and_bird_call_and_bird_song": "Bird vocalization, bird call, bird song",
        "Motor_vehicle_(road)": "Motor vehicle (road)",
        "Dishes_and_pots_and_pans": "Dishes, pots, and pans",
        "Tick-tock": "Tick-tock",
    }.items():
        assert display_name(ours) == theirs
        assert theirs in carried()


def test_esc50(tmp_path: Path, write_tone: WriteTone) -> None:
    root = tmp_path / "ESC-50-master"
    (root / "meta").mkdir(parents=True)
    (root / "meta/esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n"
        "1-100032-A-0.wav,1,0,dog,True,100032,A\n"
        "5-100210-B-25.wav,5,25,footsteps,False,100210,B\n"
        "5-100210-C-31.wav,5,31,mouse_click,False,100210,C\n"
        "5-200000-A-1.wav,5,1,rooster,True,200000,A\n"
    )
    for name in ("1-100032-A-0", "5-100210-B-25", "5-100210-C-31"):
        write_tone(f"ESC-50-master/audio/{name}.wav", seconds=0.2, sample_rate=44_100)
    opened = open_recordings(root, RATE)
    assert opened.layout is Layout.ESC50
    assert [(clip.labels, clip.split, clip.licence, clip.origin) for clip in opened.clips] == [
        (("Dog",), "train", "CC-BY-3.0", "freesound:100032"),
        (("Walk, footsteps",), "test", "CC-BY-NC-3.0", "freesound:100210"),
        (("mouse click",), "test", "CC-BY-NC-3.0", "freesound:100210"),
    ]
    assert [one.kind for one in opened.problems] == ["missing"]


def write_pack(path: Path, names: list[str], targets: list[list[int]], **more: Any) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.random.default_rng(len(names)).integers(-9_000, 9_000, (len(names), RATE)).astype(np.int16)
    with h5py.File(path, "w") as file:
        file["audio_name"] = np.array([name.encode() for name in names], dtype="S20")
        file["target"] = np.array(targets, dtype=more.get("target", np.bool_))
        file["waveform"] = sound if more.get("waveform", np.int16) is np.int16 else sound.astype(np.float32) / 32_768
        file.attrs["sample_rate"] = more.get("sample_rate", 32_000)
    return sound


def test_hdf5_packs(tmp_path: Path) -> None:
    root = tmp_path / "hdf5s"
    names = ["Y--PJHxphWEs.wav", "Yabcdefghijk.wav", "", "Yqqqqqqqqqqq.wav"]
    targets = [[1, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    sound = write_pack(root / "waveforms/balanced_train.h5", names, targets)
    write_pack(root / "waveforms/eval.h5", ["Yevalevaleva.wav"], [[0, 0, 0, 1]], target=np.uint8, waveform=np.float32)
    (tmp_path / "class_labels_indices.csv").write_text(CLASSES)
    opened = open_recordings(root, RATE)
    assert opened.layout is Layout.HDF5
    assert [(clip.path, clip.row, clip.labels, clip.split, clip.origin, clip.duration_s) for clip in opened.clips] == [
        ("waveforms/balanced_train.h5", 0, ("Bark", "Speech"), "train", "--PJHxphWEs", 1.0),
        ("waveforms/balanced_train.h5", 1, ("Dog",), "train", "abcdefghijk", 1.0),
        ("waveforms/eval.h5", 0, ("Rain",), "test", "evalevaleva", 1.0),
    ]
    np.testing.assert_array_equal(opened.read(1), sound[1])
    np.testing.assert_array_equal(opened.read(0, 31_000, 5_000), sound[0, 31_000:])
    assert opened.read(2).dtype == np.int16
    assert [(one.path, one.kind) for one in opened.problems] == [
        ("balanced_train.h5[2]", "missing"),
        ("balanced_train.h5[3]", "unlabelled"),
    ]
    assert open_recordings(root / "waveforms/eval.h5", 16_000).read(0).size == 16_000


def test_hdf5_packs_without_class_names_are_numbered(tmp_path: Path) -> None:
    write_pack(tmp_path / "waveforms/a.h5", ["a.wav"], [[0, 1]], sample_rate=16_000)
    opened = open_recordings(tmp_path / "waveforms", RATE)
    assert opened.clips[0].labels == ("class 1",)
    assert opened.clips[0].duration_s == 2.0
    assert any("not known" in warning for warning in opened.warnings)
    names = tmp_path / "names.csv"
    names.write_text(CLASSES)
    with pytest.raises(DataError, match="names 4 classes"):
        open_recordings(tmp_path / "waveforms", RATE, classes=names)


def test_hdf5_packs_of_527_classes_have_audiosets_names(tmp_path: Path) -> None:
    target = np.zeros((1, 527), dtype=int)
    target[0, [0, 75]] = 1
    write_pack(tmp_path / "a.h5", ["a.wav"], target.tolist())
    opened = open_recordings(tmp_path / "a.h5", RATE)
    assert opened.clips[0].labels == ("Bark", "Speech")
    assert any("AudioSet's order" in warning for warning in opened.warnings)


def test_an_hdf5_index_after_its_folder_was_moved(tmp_path: Path) -> None:
    sound = write_pack(tmp_path / "hdf5s/waveforms/unbalanced_train/part00.h5", ["a.wav", "b.wav"], [[1, 0], [0, 1]])
    index = tmp_path / "hdf5s/indexes/full_train.h5"
    index.parent.mkdir()
    with h5py.File(index, "w") as file:
        file["audio_name"] = np.array([b"b.wav", b"a.wav"], dtype="S20")
        file["target"] = np.array([[0, 1], [1, 0]], dtype=np.bool_)
        file["hdf5_path"] = np.array([b"/old/ws/hdf5s/waveforms/unbalanced_train/part00.h5"] * 2, dtype="S200")
        file["index_in_hdf5"] = np.array([1, 0], dtype=np.int32)
    opened = open_recordings(index, RATE)
    assert [(clip.row, clip.labels, clip.split) for clip in opened.clips] == [
        (1, ("class 1",), "train"),
        (0, ("class 0",), "train"),
    ]
    np.testing.assert_array_equal(opened.read(0), sound[1])
    (tmp_path / "hdf5s/waveforms/unbalanced_train/part00.h5").rename(tmp_path / "gone.h5")
    with pytest.raises(DataError, match=r"part00\.h5.*not below"):
        open_recordings(index, RATE)


def test_an_hdf5_file_of_something_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["pictures"] = np.zeros(3)
    with pytest.raises(DataError, match="neither a pack nor an index: it has pictures"):
        open_recordings(tmp_path / "a.h5", RATE)
    (tmp_path / "b.h5").write_text("no")
    with pytest.raises(DataError, match="not an HDF5 pack"):
        open_recordings(tmp_path / "b.h5", RATE)


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(tmp_path / "a.h5", ["a.wav"], [[0, 1]])
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DataError, match=r"querysep\[data\]"):
        open_recordings(tmp_path / "a.h5", RATE)


def test_packs_are_opened_anew_in_a_forked_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pack(tmp_path / "a.h5", ["a.wav"], [[0, 1]])
    opened = open_recordings(tmp_path / "a.h5", RATE)
    expected = opened.read(0)
    opens = []
    real = h5py.File

    def opening(*given: Any) -> Any:
        opens.append(given)
        return real(*given)

    monkeypatch.setattr(h5py, "File", opening)
    opened.read(0)
    assert opens == []
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(opened.read(0), expected) and len(opens) == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
