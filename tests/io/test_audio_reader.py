"""Reading: every format comes in, and every bad file gets one useful line."""

import os
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from querysep.errors import AudioError
from querysep.io.audio_reader import AudioReader, read_audio, read_span

RATE = 16_000


def noise(channels: int = 1, seconds: float = 2.0) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal((round(seconds * RATE), channels)) * 0.1).astype(np.float32)


def write_av(path: Path, codec: str, seconds: float = 2.0, rate: int = 48_000) -> None:
    time_s = np.arange(round(seconds * rate)) / rate
    samples = (0.3 * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)[None]
    layout = "fltp" if codec == "aac" else "flt"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        for start in range(0, samples.shape[1], 960):
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(samples[:, start : start + 960]), format=layout, layout="mono"
            )
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("ending", ["wav", "flac", "aiff", "ogg", "mp3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_reads_what_libsndfile_reads_in_blocks_of_any_size(tmp_path: Path, ending: str, channels: int) -> None:
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(channels), RATE)
    whole = read_audio(path)
    assert whole.sample_rate == RATE
    assert whole.samples.shape == (channels, 2 * RATE)
    with AudioReader(path) as reader:
        assert (reader.channels, reader.samples) == (channels, 2 * RATE)
        blocks = list(reader.blocks(777))
    assert {block.shape[1] for block in blocks[:-1]} == {777}
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), whole.samples, atol=1e-6)
    if ending in ("wav", "flac", "aiff"):
        np.testing.assert_allclose(whole.samples.T, noise(channels), atol=1e-4)


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.mkv", "libopus"), ("a.mka", "pcm_f32le")])
def test_reads_the_rest_through_pyav(tmp_path: Path, name: str, codec: str) -> None:
    path = tmp_path / name
    write_av(path, codec)
    whole = read_audio(path)
    assert whole.sample_rate == 48_000
    assert whole.duration_s == pytest.approx(2.0, abs=0.05)
    assert np.abs(whole.samples).max() == pytest.approx(0.3, abs=0.2)
    with AudioReader(path) as reader:
        assert reader.samples is None
        np.testing.assert_array_equal(np.concatenate(list(reader.blocks(1000)), axis=1), whole.samples)
    span = read_span(path, 0.5, 1.0)
    np.testing.assert_array_equal(span.samples, whole.samples[:, 24_000:48_000])


def test_read_span_equals_a_slice_and_ends_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(2), RATE)
    whole = read_audio(path).samples
    np.testing.assert_array_equal(read_span(path, 0.5, 1.25).samples, whole[:, 8_000:20_000])
    assert read_span(path, 1.5, 9.0).samples.shape == (2, 8_000)
    assert read_span(path, 5.0, 9.0).samples.shape == (2, 0)
    np.testing.assert_array_equal(read_audio(path, 0.25).samples, whole[:, :4_000])
    np.testing.assert_allclose(read_audio(path, mono=True).samples[0], whole.mean(axis=0), atol=1e-7)


@pytest.mark.parametrize("seconds", [3.0, 20.77])
def test_a_span_near_the_end_of_an_ogg_file_is_what_sounds_there(tmp_path: Path, seconds: float) -> None:
    path = tmp_path / "a.ogg"
    with soundfile.SoundFile(path, "w", 44_100, 2, format="OGG", subtype="VORBIS") as file:
        sound = np.random.default_rng(0).standard_normal((round(seconds * 44_100), 2)) * 0.1
        for block in np.array_split(sound, 20):
            file.write(block)
    whole, rate = soundfile.read(path, dtype="float32", always_2d=True)
    for before_s in (0.03, 0.1, 0.4, 1.7):
        onset_s = seconds - before_s
        found = read_span(path, onset_s, seconds).samples
        np.testing.assert_allclose(found, whole[round(onset_s * rate) :].T[:, : found.shape[1]], atol=1e-4)
        assert found.shape[1] == round(seconds * rate) - round(onset_s * rate)


def test_missing_folder_empty_and_no_audio(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "words.wav").write_text("these are words, no sound\n" * 50)
    (tmp_path / "noise.bin").write_bytes(np.random.default_rng(0).bytes(5_000))
    (tmp_path / "a.raw").write_bytes(b"\0" * 5_000)
    for name, message in [
        ("none.wav", "no file"),
        (".", "is a folder"),
        ("empty.wav", r"empty \(0 bytes\)"),
        ("words.wav", "not audio|no sound track|truncated or damaged"),
        ("noise.bin", "not audio|no sound track|truncated or damaged"),
        ("a.raw", "not audio|no sound track|truncated or damaged"),
    ]:
        with pytest.raises(AudioError, match=message) as caught:
            read_audio(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["wav", "flac", "aiff", "ogg"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_truncated_files_are_told(tmp_path: Path, ending: str, kept: float) -> None:
    whole, cut = tmp_path / f"a.{ending}", tmp_path / f"cut.{ending}"
    soundfile.write(whole, noise(seconds=10), RATE)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(AudioError, match="truncated"):
        read_audio(cut)


def test_a_truncated_m4a_or_mkv_is_told(tmp_path: Path) -> None:
    for name, codec in [("a.m4a", "aac"), ("a.mkv", "aac")]:
        write_av(tmp_path / name, codec, seconds=10)
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"cut-{name}").write_bytes(content[: len(content) // 2])
        with pytest.raises(AudioError, match="truncated"):
            read_audio(tmp_path / f"cut-{name}")


def test_a_wav_from_a_pipe_with_no_size_in_its_header_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(), RATE)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[4:8] = content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert read_audio(path).samples.shape == (1, 2 * RATE)


@pytest.mark.parametrize("ending", ["wav", "aiff"])
def test_no_samples_at_all(tmp_path: Path, ending: str) -> None:
    soundfile.write(tmp_path / f"a.{ending}", np.zeros((0, 1)), RATE)
    with pytest.raises(AudioError, match="no samples"):
        read_audio(tmp_path / f"a.{ending}")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_told_with_their_place(tmp_path: Path, bad: float) -> None:
    samples = noise(2, seconds=10)
    samples[-100, 1] = bad
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"NaN or infinite samples \(at about [89]"):
        read_audio(tmp_path / "a.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(), RATE)
    path.chmod(0)
    with pytest.raises(AudioError, match="cannot be opened"):
        read_audio(path)


def test_an_ogg_cut_between_two_pages_is_told(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.ogg", noise(seconds=10), RATE)
    content = (tmp_path / "a.ogg").read_bytes()
    (tmp_path / "cut.ogg").write_bytes(content[: content.rindex(b"OggS")])
    with pytest.raises(AudioError, match="last Ogg page"):
        read_audio(tmp_path / "cut.ogg")
