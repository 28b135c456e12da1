"""Writing: exact, never clipped in silence, whole or not at all."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from querysep.errors import AudioError, OutputError
from querysep.io.audio_writer import FLAC_STEP, AudioWriter, fit_to_flac, save_audio
from querysep.io.files import OutputSet, atomic_text
from querysep.types import Audio, FloatArray

RATE = 16_000


def noise(channels: int = 2, seconds: float = 1.0, gain: float = 0.2) -> FloatArray:
    samples = np.random.default_rng(1).standard_normal((channels, round(seconds * RATE)))
    return np.clip(samples * gain, -1, 1).astype(np.float32)


def test_wav_keeps_every_bit_even_beyond_full_scale(tmp_path: Path) -> None:
    samples = noise() * 20
    Audio(samples, RATE).save(tmp_path / "a.wav")
    read, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
    assert rate == RATE
    assert soundfile.info(tmp_path / "a.wav").subtype == "FLOAT"
    np.testing.assert_array_equal(read.T, samples)


def test_flac_keeps_24_bits_and_refuses_what_it_would_clip(tmp_path: Path) -> None:
    samples = noise()
    save_audio(tmp_path / "a.flac", samples, RATE)
    read, _ = soundfile.read(tmp_path / "a.flac", dtype="float64")
    assert np.abs(read.T - samples).max() <= FLAC_STEP / 2 + 1e-12
    with pytest.raises(AudioError, match=r"exceed full scale.*Use wav"):
        save_audio(tmp_path / "loud.flac", samples * 20, RATE)
    with pytest.raises(AudioError, match="8 channels"):
        save_audio(tmp_path / "wide.flac", noise(9), RATE)
    with pytest.raises(AudioError, match="'mp3' cannot be written"):
        save_audio(tmp_path / "a.mp3", samples, RATE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]


@example(mixture=[0.0, -0.04789979010820389], masks=[0.0, 1.0])
@given(
    mixture=st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=50),
    masks=st.lists(st.floats(-2, 2, width=32), min_size=50, max_size=50),
)
def test_target_and_residual_fit_flac_and_add_up(mixture: list[float], masks: list[float]) -> None:
    whole = np.array([mixture], np.float32)
    target, limited = fit_to_flac(whole, np.array([masks[: len(mixture)]], np.float32))
    residual = whole - target
    top = 1 - FLAC_STEP
    for part in (target, residual):
        assert part.min() >= -1
        assert part.max() <= top + 1e-7
    np.testing.assert_array_equal(target / FLAC_STEP, np.round(target / FLAC_STEP))
    assert np.abs(target + residual - whole).max() <= FLAC_STEP
    assert 0 <= limited <= len(mixture)


def test_a_target_within_bounds_is_not_counted_as_limited() -> None:
    mixture = noise()
    assert fit_to_flac(mixture, mixture * 0.3)[1] == 0
    assert fit_to_flac(mixture, mixture * 0 + 1.5)[1] == mixture.size


def write_half(path: Path, kind: type[BaseException]) -> None:
    with AudioWriter(path, RATE, 2, "wav") as writer:
        writer.write(noise())
        raise kind


def write_both(folder: Path) -> None:
    with OutputSet() as outputs:
        for name in "ab":
            outputs.add(folder / name).write_text(name)
            assert not (folder / name).exists()


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    for kind in (RuntimeError, KeyboardInterrupt):
        with pytest.raises(kind):
            write_half(tmp_path / "new" / "a.wav", kind)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_output_survives_a_failure_and_is_refused_by_default(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    atomic_text(path, "old")
    with pytest.raises(OutputError, match="--overwrite"):
        atomic_text(path, "new", overwrite=False)
    with pytest.raises(KeyboardInterrupt):
        write_half(path, KeyboardInterrupt)
    assert path.read_text() == "old"
    atomic_text(path, "new")
    assert path.read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 1


def test_files_get_the_usual_permissions(tmp_path: Path) -> None:
    atomic_text(tmp_path / "ours", "x")
    (tmp_path / "theirs").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_output_that_is_a_folder_or_below_a_file(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder"):
        save_audio(tmp_path, noise(), RATE)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"not a folder|cannot be written"):
        save_audio(tmp_path / "file" / "a.wav", noise(), RATE)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that even root cannot write to")
def test_a_folder_that_cannot_be_written_to() -> None:
    with pytest.raises(OutputError, match="output folder"):
        save_audio("/proc/self/a.wav", noise(), RATE)


def test_several_outputs_appear_together_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="disk is full"):
            write_both(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []

    real, calls = Path.replace, []

    def second_fails(self: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) == 2:
            full(0)
        return real(self, target)

    monkeypatch.setattr(Path, "replace", second_fails)
    with pytest.raises(OutputError, match="disk is full"):
        write_both(tmp_path)
    assert list(tmp_path.iterdir()) == []


FULL_DISK = """
import resource, sys
import numpy as np
from querysep.errors import OutputError
from querysep.io.audio_writer import save_audio
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # the kernel refuses to write more, as on a full disk
try:
    save_audio(sys.argv[1], np.random.default_rng(0).uniform(-1, 1, (2, 500_000)).astype(np.float32), 16_000)
except OutputError as error:
    sys.exit(f"told: {error}")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_disk_that_fills_up_is_told_and_leaves_nothing(tmp_path: Path, ending: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / f"a.{ending}")], capture_output=True, text=True, check=False
    )
    assert done.stderr.startswith("told: "), done.stderr
    assert "disk is full" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_over_4_gb_gets_the_header_for_it(tmp_path: Path) -> None:
    for expected, container in [(16_000, "WAV"), (2**31, "RF64"), (None, "RF64")]:
        path = tmp_path / f"{container}.wav"
        with AudioWriter(path, RATE, 2, expected_samples=expected) as writer:
            writer.write(noise())
        assert soundfile.info(path).format == container
        np.testing.assert_array_equal(soundfile.read(path, dtype="float32")[0].T, noise())
