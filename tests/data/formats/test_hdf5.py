"""HDF5 packs and their indexes."""

import os
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from querysep.data.formats import DataFormat
from querysep.data.formats.data_set import open_recordings
from querysep.errors import DataError

RATE = 32_000
CLASSES = 'index,mid,display_name\n0,/m/09x0r,"Speech"\n74,/m/0bt9lr,"Dog"\n75,/m/05tny_,"Bark"\n289,/m/06mb1,"Rain"\n'


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
    assert opened.data_format is DataFormat.HDF5
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
