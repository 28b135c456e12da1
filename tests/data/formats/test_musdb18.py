"""MUSDB18 in both of its layouts, and what can be wrong with it."""

import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from music import ORDER, RATE, needs_ffmpeg, song, write_stems, write_wav
from numpy.typing import NDArray

from querysep.data.formats.musdb18 import STEMS, Musdb18, TrackReader
from querysep.errors import DataError
from querysep.types import Audio

SECONDS = 0.5


def _tracks(root: Path) -> Path:
    for number, subset in enumerate(("train", "test")):
        write_wav(root / subset / "Ann - Song", song(number, SECONDS))
    return root


@pytest.fixture(scope="module")
def stems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stems(tmp_path_factory.mktemp("musdb18") / "test" / "Ann - Song.stem.mp4", song(1, SECONDS))


def _reader(path: Path) -> TrackReader:
    """Read a track for itself; the training side needs one, too, but nobody looks into it."""
    (path.parents[1] / "train").mkdir(exist_ok=True)
    (path.parents[1] / "train" / path.name).write_bytes(b"")
    return TrackReader(Musdb18(path.parents[1]).test[0])


def test_tracks_are_found_by_name(tmp_path: Path) -> None:
    for name in ("train/Ann - Song", "test/Cid - Song", "test/Bob - Song"):
        path = tmp_path / f"{name}.stem.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "test" / "notes.txt").write_text("mine")
    (tmp_path / "test" / ".hidden").mkdir()
    found = Musdb18(tmp_path)
    assert [track.name for track in found.test] == ["Bob - Song", "Cid - Song"]
    assert [track.name for track in found.train] == ["Ann - Song"]
    assert found.layout == "stems"


@needs_ffmpeg
def test_wav_is_read_as_it_is(tmp_path: Path) -> None:
    read = TrackReader(Musdb18(_tracks(tmp_path)).test[0]).read_together()
    wanted = song(1, SECONDS)
    assert Musdb18(tmp_path).layout == "wav"
    assert list(read) == ["mixture", *STEMS]
    for part, audio in read.items():
        assert audio.sample_rate == RATE
        np.testing.assert_array_equal(audio.samples, wanted[part].T.astype(np.float32))


@pytest.fixture(scope="module")
def streams(stems: Path) -> dict[str, Audio]:
    return _reader(stems).read_together()


@needs_ffmpeg
def test_each_stream_is_the_stem_of_its_name(streams: dict[str, Audio]) -> None:
    wanted = song(1, SECONDS)
    for part, audio in streams.items():
        length = wanted[part].shape[0]
        errors = {name: _energy(wave.T - audio.samples[:, :length]) for name, wave in wanted.items()}
        assert min(errors, key=errors.__getitem__) == part
        assert errors[part] < 0.6 * _energy(wanted[part])  # noise is coded badly


def _energy(wave: NDArray[np.floating]) -> float:
    return float(np.square(wave, dtype=np.float64).sum())


@needs_ffmpeg
def test_streams_are_decoded_as_pyav_does(stems: Path, streams: dict[str, Audio]) -> None:
    """Sample for sample, to the 16 bits that stempeg asks for."""
    for number, part in enumerate(ORDER):
        with av.open(str(stems)) as container:
            stream = container.streams.audio[number]
            wave = np.concatenate([frame.to_ndarray() for frame in container.decode(stream)], axis=1)
        np.testing.assert_allclose(streams[part].samples, wave, atol=0.6 / 32_768)


def test_fingerprint_tells_other_sound(tmp_path: Path) -> None:
    root = _tracks(tmp_path)
    before = Musdb18(root).fingerprint()
    assert Musdb18(root).fingerprint() == before
    write = root / "train" / "Ann - Song" / "bass.wav"
    soundfile.write(write, -soundfile.read(write)[0], RATE, subtype="PCM_16")
    assert Musdb18(root).fingerprint() != before


def test_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no folder"):
        Musdb18(tmp_path / "nowhere")


def test_another_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "music").mkdir()
    with pytest.raises(DataError, match="is not MUSDB18: it has neither a folder 'train' nor"):
        Musdb18(tmp_path)


@pytest.mark.parametrize("subset", ["train", "test"])
def test_subset_without_tracks_is_told(tmp_path: Path, subset: str) -> None:
    root = _tracks(tmp_path)
    (root / subset).rename(root / "elsewhere")
    with pytest.raises(DataError, match=rf"{subset}' holds no tracks of MUSDB18"):
        Musdb18(root)


def test_missing_stem_is_named(tmp_path: Path) -> None:
    root = _tracks(tmp_path)
    (root / "test" / "Ann - Song" / "bass.wav").unlink()
    with pytest.raises(DataError, match=r"test/Ann - Song' lacks bass\.wav"):
        Musdb18(root)


def test_both_layouts_at_once_are_told(tmp_path: Path) -> None:
    root = _tracks(tmp_path)
    (root / "test" / "Bob - Song.stem.mp4").write_bytes(b"")
    with pytest.raises(DataError, match="both"):
        Musdb18(root)


@needs_ffmpeg
def test_missing_stream_is_told(tmp_path: Path) -> None:
    parts = song(1, 0.1)
    del parts["bass"]
    path = write_stems(tmp_path / "test" / "Ann - Song.stem.mp4", parts)
    with pytest.raises(DataError, match="has 4 sound streams"):
        _reader(path)


@needs_ffmpeg
def test_damaged_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "test" / "Ann - Song.stem.mp4"
    path.parent.mkdir()
    path.write_bytes(b"no sound at all")
    with pytest.raises(DataError, match="is not sound that ffmpeg can read"):
        _reader(path)


@needs_ffmpeg
def test_stems_of_other_lengths_are_told(tmp_path: Path) -> None:
    root = _tracks(tmp_path)
    soundfile.write(root / "test" / "Ann - Song" / "other.wav", np.zeros((RATE, 2)), RATE)
    with pytest.raises(DataError, match=r"differ in rate, channels or length.*other 44100 Hz x 2 x 44100"):
        TrackReader(Musdb18(root).test[0]).read_together()


def test_missing_ffmpeg_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _tracks(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match=r"'ffmpeg' is not installed\. Install ffmpeg"):
        TrackReader(Musdb18(root).test[0])


@needs_ffmpeg
def test_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _tracks(tmp_path)
    monkeypatch.setitem(sys.modules, "musdb", None)
    with pytest.raises(DataError, match=r"'musdb' is not installed.*querysep\[eval\]"):
        TrackReader(Musdb18(root).test[0])
