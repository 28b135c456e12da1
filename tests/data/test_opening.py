"""Opening data sets: layouts are found out, sound comes as asked, and what cannot be taken is told."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from recordings import WriteTone

from querysep.data.layouts import Layout
from querysep.data.manifest import Clip, write_manifest
from querysep.data.opening import OpenedRecordings, find_layout, open_recordings
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
    assert opened.layout is Layout.FOLDERS
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


def test_our_own_manifest_with_a_file_missing(tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone("set/a.wav", seconds=1.0)
    clip = Clip(path="a.wav", labels=("Dog",), duration_s=1.0, licence="CC0", source="s", origin="o", split="test")
    part = clip.model_copy(update={"start_s": 0.25, "duration_s": 0.5})
    write_manifest([clip, part, clip.model_copy(update={"path": "gone.wav"})], tmp_path / "set" / "manifest.jsonl")
    opened = open_recordings(tmp_path / "set", RATE)
    assert opened.layout is Layout.MANIFEST
    assert list(opened.clips) == [clip, part]
    assert [(one.path, one.kind) for one in opened.problems] == [("gone.wav", "missing")]
    np.testing.assert_array_equal(opened.read(1), opened.read(0)[8_000:24_000])


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
    assert opened.layout is Layout.TABLE
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
    ("content", "told"),
    [
        ("file,loudness\na.wav,3\n", r"no column 'labels'.*file, loudness"),
        ("name,label\na.wav,3\n", r"no column 'path'.*name, label"),
        ("path,label\n", "no rows"),
        ("path,label\nnone.wav,Dog\n", r"none of its 1 clips.*none\.wav"),
    ],
)
def test_a_list_that_cannot_be_used(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "clips.csv").write_text(content)
    with pytest.raises(DataError, match=told):
        open_recordings(tmp_path / "clips.csv", RATE)


def test_commas_part_labels_only_where_nothing_else_does(tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone("a.wav", seconds=0.1)
    (tmp_path / "many.csv").write_text("path\tlabels\na.wav\tDog,Animal\na.wav\tChirp, tweet\n")
    (tmp_path / "one.csv").write_text('path,label\na.wav,"Male speech, man speaking"\n')
    many, one = open_recordings(tmp_path / "many.csv", RATE), open_recordings(tmp_path / "one.csv", RATE)
    assert [clip.labels for clip in many.clips] == [("Dog", "Animal"), ("Chirp, tweet",)]
    assert any("split at ','" in warning for warning in many.warnings)
    assert one.clips[0].labels == ("Male speech, man speaking",)


def test_nothing_and_nothing_known(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set at"):
        open_recordings(tmp_path / "nowhere", RATE)
    with pytest.raises(DataError, match="no data set that we know"):
        find_layout(tmp_path)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "a.txt").write_text("dear")
    with pytest.raises(DataError, match="holds no clips"):
        open_recordings(tmp_path, RATE)


def test_unreadable_files_are_told_and_the_rest_is_taken(tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone("set/dog/good.wav", seconds=0.1)
    (tmp_path / "set/dog/empty.wav").touch()
    (tmp_path / "set/dog/diary.mp3").write_text("today nothing happened\n" * 50)
    opened = open_recordings(tmp_path / "set", RATE)
    assert [clip.path for clip in opened.clips] == ["dog/good.wav"]
    assert sorted((one.path, one.kind) for one in opened.problems) == [
        ("dog/diary.mp3", "unreadable"),
        ("dog/empty.wav", "unreadable"),
    ]


def test_a_file_damaged_after_opening_is_a_data_error(tmp_path: Path, write_tone: WriteTone) -> None:
    path = write_tone("set/dog/a.wav", seconds=1.0)
    opened = open_recordings(tmp_path / "set", RATE)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"truncated|holds no samples"):
        opened.read(0)
    path.unlink()
    with pytest.raises(DataError, match="no file"):
        opened.read(0)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate", [8_000, 32_000, 44_100])
def test_a_part_is_the_same_as_the_whole_cut(tmp_path: Path, rate: int, ending: str) -> None:
    noise = np.random.default_rng(0).standard_normal((3 * rate + 17, 2)) * 0.1
    (tmp_path / "set/noise").mkdir(parents=True)
    soundfile.write(tmp_path / f"set/noise/a.{ending}", noise, rate)
    opened = open_recordings(tmp_path / "set", RATE)
    whole = opened.read(0)
    assert abs(whole.size - 96_000) < 100
    for start, count in ((0, 1_000), (12_345, 20_000), (60_000, None), (whole.size - 500, 9_999), (whole.size, 1)):
        part = opened.read(0, start, count)
        cut = whole[start:] if count is None else whole[start : start + count]
        np.testing.assert_allclose(part, cut, atol=1)


def test_sixteen_bit_sound_comes_back_bit_by_bit(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32_768, 32_768, 9_000).astype(np.int16)
    (tmp_path / "set/noise").mkdir(parents=True)
    soundfile.write(tmp_path / "set/noise/a.flac", samples, RATE)
    opened = open_recordings(tmp_path / "set", RATE)
    np.testing.assert_array_equal(opened.read(0), samples)
    np.testing.assert_array_equal(opened.read(0, 1_000, 500), samples[1_000:1_500])


def test_a_part_of_a_long_file_decodes_little_of_it(
    tmp_path: Path, write_tone: WriteTone, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tone("set/tone/long.flac", seconds=30.0, sample_rate=44_100)
    opened = open_recordings(tmp_path / "set", RATE)
    decoded = []
    read = soundfile.SoundFile.read

    def counted(sound: soundfile.SoundFile, frames: int = -1, **more: Any) -> Any:
        decoded.append(frames)
        return read(sound, frames, **more)

    monkeypatch.setattr(soundfile.SoundFile, "read", counted)
    assert opened.read(0, 10 * RATE, 2 * RATE).size == 2 * RATE
    assert 2 * 44_100 < sum(decoded) < 2.5 * 44_100


def test_films_are_read_too(tmp_path: Path) -> None:
    import av

    (tmp_path / "set/tone").mkdir(parents=True)
    samples = (np.sin(np.arange(48_000) * 0.05) * 9_000).astype(np.int16)
    with av.open(str(tmp_path / "set/tone/film.m4a"), "w") as film:
        track = film.add_stream("aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = 48_000
        for packet in (*track.encode(frame), *track.encode(None)):
            film.mux(packet)
    opened = open_recordings(tmp_path / "set", RATE)
    assert opened.clips[0].duration_s == pytest.approx(1.0, abs=0.1)
    part = opened.read(0, 8_000, 8_000)
    assert part.size == 8_000
    assert np.abs(part).max() == pytest.approx(9_000, rel=0.1)


def test_recordings_go_to_other_processes(tmp_path: Path, write_tone: WriteTone) -> None:
    write_tone("set/dog/a.wav", seconds=0.1)
    opened = open_recordings(tmp_path / "set", RATE)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(opened)).read(0), opened.read(0))
