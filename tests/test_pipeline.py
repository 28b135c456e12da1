"""The pipeline: what a user gives, what a user gets, and what happens when something is wrong."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from recordings import WriteTone, tone

import querysep
from querysep.errors import AudioError, OutputError, QueryError
from querysep.pipeline import Separator
from querysep.types import Audio, FloatArray

RATE = 32_000


@pytest.fixture(scope="module")
def separator(tiny_model: Path) -> Separator:
    return querysep.Separator.load(tiny_model, "cpu")


@pytest.fixture
def example(write_tone: WriteTone) -> Path:
    return write_tone("example.wav", seconds=2.0, frequency_hz=880)


def read(path: Path) -> FloatArray:
    return np.asarray(soundfile.read(path, dtype="float32", always_2d=True)[0].T)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.exists() else []


@pytest.mark.parametrize(
    ("sample_rate", "channels", "seconds"), [(3_000, 1, 4), (44_100, 2, 2.5), (192_000, 2, 1), (16_000, 8, 2.1)]
)
def test_any_rate_and_channels_in_memory_and_in_files(
    separator: Separator,
    example: Path,
    write_tone: WriteTone,
    tmp_path: Path,
    sample_rate: int,
    channels: int,
    seconds: float,
) -> None:
    path = write_tone("mix.wav", seconds=seconds, sample_rate=sample_rate, channels=channels)
    mixture = read(path)
    result = separator.separate(path, example)
    assert result.target.samples.shape == mixture.shape
    assert result.target.sample_rate == result.residual.sample_rate == sample_rate
    assert np.isfinite(result.target.samples).all()
    np.testing.assert_allclose(result.target.samples + result.residual.samples, mixture, atol=2**-24)
    (written,) = separator.separate_file(path, example, tmp_path / "out")
    np.testing.assert_allclose(read(written.target), result.target.samples, atol=1e-6)
    np.testing.assert_allclose(read(written.residual), result.residual.samples, atol=1e-6)
    assert left(tmp_path / "out") == ["mix.report.json", "mix.residual.wav", "mix.target.wav"]
    report = json.loads(written.report_path.read_text())
    assert report == written.report.model_dump()
    assert report["mixture"] == {
        "path": str(path),
        "duration_s": mixture.shape[1] / sample_rate,
        "sample_rate": sample_rate,
        "channels": channels,
    }
    assert report["queries"][0]["examples_used"] == 1
    assert report["model"] == "tiny"
    assert 0 <= report["presence"] <= 1
    assert any("rate is only" in warning for warning in report["warnings"]) == (sample_rate < 16_000)


def test_paths_audio_arrays_tensors_and_streams_agree(
    separator: Separator, example: Path, write_tone: WriteTone
) -> None:
    path = write_tone("mix.wav", seconds=3.3, channels=2, sample_rate=44_100)
    mixture, query = read(path), read(example)
    wanted = separator.separate(path, str(example)).target.samples
    for given, wish, rate in [
        (Audio(mixture, 44_100), Audio(query, RATE), None),
        (mixture, example, 44_100),
        (torch.from_numpy(mixture).double(), [example], 44_100),
    ]:
        np.testing.assert_allclose(separator.separate(given, wish, sample_rate=rate).target.samples, wanted, atol=1e-6)
    blocks = (mixture[:, start : start + 5_000] for start in range(0, mixture.shape[1], 5_000))
    streamed = np.concatenate(list(separator.stream(blocks, example, 44_100)), axis=1)
    np.testing.assert_allclose(streamed, wanted, atol=1e-6)


def test_flac_adds_up_on_its_grid(separator: Separator, example: Path, tmp_path: Path) -> None:
    loud = np.clip(tone(2.0, RATE, 2, gain=1.4), -1, 1)
    soundfile.write(tmp_path / "mix.wav", loud, RATE, subtype="PCM_16")
    (written,) = separator.separate_file(tmp_path / "mix.wav", example, tmp_path / "out", format="flac")
    assert soundfile.info(written.target).subtype == "PCM_24"
    together = read(written.target).astype(np.float64) + read(written.residual)
    assert np.abs(together - read(tmp_path / "mix.wav")).max() <= 2**-23
    assert written.target.name == "mix.target.flac"


def test_flac_refuses_a_mixture_beyond_full_scale_before_any_work(
    separator: Separator, example: Path, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "mix.wav", tone(1.0, RATE, 1, gain=2.0), RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"exceeds full scale.*--format wav"):
        separator.separate_file(tmp_path / "mix.wav", example, tmp_path / "out", format="flac")
    assert left(tmp_path / "out") == []


def test_several_queries(separator: Separator, example: Path, write_tone: WriteTone, tmp_path: Path) -> None:
    path = write_tone("mix.wav", seconds=4)
    other = write_tone("other.wav", seconds=2, frequency_hz=3_000, gain=0.01)
    each = separator.separate_file(path, [example, other, "span:1-3"], tmp_path / "out", combine="each")
    assert [files.target.name for files in each] == [
        "mix.1-example.target.wav",
        "mix.2-other.target.wav",
        "mix.3-span-1-3.target.wav",
    ]
    assert len(left(tmp_path / "out")) == 9
    for files_, query in zip(each, [example, other, "span:1-3"], strict=True):
        np.testing.assert_allclose(read(files_.target), separator.separate(path, query).target.samples, atol=1e-6)
        assert len(files_.report.queries) == 1
    largest = separator.separate(path, [example, other], combine="max")
    assert len(largest.report.queries) == 2
    in_memory = separator.separate_each(path, [example, other])
    np.testing.assert_allclose(in_memory[1].target.samples, read(each[1].target), atol=1e-6)
    mean = separator.separate(path, [example, other])
    as_one = separator.separate(path, querysep.Query.audio(example, other))
    np.testing.assert_allclose(mean.target.samples, as_one.target.samples, atol=1e-6)
    with pytest.raises(QueryError, match="separate_each"):
        separator.separate(path, [example, other], combine="each")
    with pytest.raises(QueryError, match="No query"):
        separator.separate(path, [])


@pytest.mark.parametrize("sample_rate", [RATE, 44_100])
def test_a_silent_mixture_gives_silence_and_says_so(separator: Separator, example: Path, sample_rate: int) -> None:
    result = separator.separate(np.zeros((2, 3 * sample_rate)), example, sample_rate=sample_rate)
    np.testing.assert_array_equal(result.target.samples, 0)
    np.testing.assert_array_equal(result.residual.samples, 0)
    assert any("mixture is silent" in warning for warning in result.report.warnings)


@pytest.mark.parametrize("time", [1, 7, 300, 1_025])
def test_very_short_mixtures(separator: Separator, example: Path, time: int) -> None:
    for rate in (3_000, RATE, 44_100):
        result = separator.separate(np.full((1, time), 0.1), example, sample_rate=rate)
        assert result.target.samples.shape == (1, time)
        assert np.isfinite(result.target.samples).all()


def test_bad_mixtures_leave_nothing(separator: Separator, example: Path, write_tone: WriteTone, tmp_path: Path) -> None:
    good = write_tone("good.wav", seconds=5)
    content = good.read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: len(content) // 2])
    soundfile.write(tmp_path / "cut.flac", tone(5, RATE, 1), RATE)
    content = (tmp_path / "cut.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.wav").touch()
    (tmp_path / "words.wav").write_text("words, no sound " * 100)
    soundfile.write(tmp_path / "none.wav", np.zeros((0, 1)), RATE)
    late = tone(5, RATE, 1)
    late[-10] = np.nan
    soundfile.write(tmp_path / "nan.wav", late, RATE, subtype="FLOAT")
    for name, message in [
        ("missing.wav", "no file"),
        ("empty.wav", "0 bytes"),
        ("words.wav", r"not audio|truncated or damaged"),
        ("cut.wav", "truncated"),
        ("cut.flac", "truncated"),
        ("none.wav", "no samples"),
        ("nan.wav", "NaN"),
        (".", "is a folder"),
    ]:
        with pytest.raises(AudioError, match=message) as caught:
            separator.separate_file(tmp_path / name, example, tmp_path / "out")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()
    with pytest.raises(AudioError, match="need their rate"):
        separator.separate(late, example)


def test_existing_outputs_are_refused_before_any_work(
    separator: Separator, example: Path, write_tone: WriteTone, tmp_path: Path
) -> None:
    path, out = write_tone("mix.wav"), tmp_path / "out"
    separator.separate_file(path, example, out)
    (out / "mix.target.wav").write_bytes(b"mine")
    with pytest.raises(OutputError, match="--overwrite"):
        separator.separate_file(path, example, out)
    assert (out / "mix.target.wav").read_bytes() == b"mine"
    separator.separate_file(path, example, out, overwrite=True)
    assert read(out / "mix.target.wav").shape == (1, RATE)
    (out / "mix.target.flac").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        separator.separate_file(path, example, out, format="flac")
    with pytest.raises(AudioError, match="'ogg' cannot be written"):
        separator.separate_file(path, example, out, format="ogg")
    with pytest.raises(OutputError):
        separator.separate_file(path, example, path)  # a file where the folder should be


def test_a_full_disk_or_an_interruption_leaves_nothing(
    separator: Separator, example: Path, write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def interrupt(done: float, total: float | None, what: str) -> None:
        if what == "separating" and done > 2:
            raise KeyboardInterrupt

    path = write_tone("mix.wav", seconds=5)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="disk is full"):
            separator.separate_file(path, example, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(KeyboardInterrupt):
        separator.separate_file(path, example, tmp_path / "out", progress=interrupt)
    assert not (tmp_path / "out").exists()


def test_the_detector_hears_paths_and_arrays_alike(separator: Separator, write_tone: WriteTone) -> None:
    path = write_tone("a.wav", seconds=3, channels=2, sample_rate=48_000)
    one, two = separator.detector.presence(path), separator.detector.presence(read(path), 48_000)
    np.testing.assert_allclose(one.framewise, two.framewise, atol=1e-5)
    assert one.duration_s == pytest.approx(3.0)
    found = separator.detector.detect(path, threshold=0.1)
    assert {event.label for event in found} <= set(separator.detector.labels)
    assert all(0 <= event.onset_s < event.offset_s <= 3.0 for event in found)


def test_streams_refuse_what_they_cannot_do(separator: Separator, example: Path) -> None:
    with pytest.raises(QueryError, match="stream has none"):
        separator.stream([], "span:1-2", RATE)
    with pytest.raises(AudioError, match="NaN"):
        list(separator.stream([np.full(9, np.nan)], example, RATE))
    assert list(separator.stream([], example, RATE)) == []


def test_public_names_come_lazily() -> None:
    code = "import sys, querysep; querysep.__version__; querysep.Query.parse('a'); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in querysep.__all__:
        assert getattr(querysep, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = querysep.Nothing
