"""Clips in audio files: parts are cut from the whole, and what cannot be read is a problem."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from recordings import WriteTone

from querysep.data.formats.data_set import open_recordings
from querysep.errors import DataError

RATE = 32_000


def test_unreadable_files_are_problems_and_the_rest_is_taken(tmp_path: Path, write_tone: WriteTone) -> None:
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
