"""``querysep separate`` from end to end, with a tiny model."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli.running import Querysep, files_below
from recordings import WriteTone

COMMAND = Path(sys.executable).with_name("querysep")
STEP = 2.0**-23


def _assert_adds_up(mixture: Path, output: Path, audio_format: str = "wav") -> None:
    whole, sample_rate = soundfile.read(mixture, always_2d=True)
    parts = []
    for part in ("target", "residual"):
        samples, rate = soundfile.read(output / f"{mixture.stem}.{part}.{audio_format}", always_2d=True)
        assert (rate, samples.shape) == (sample_rate, whole.shape)
        parts.append(samples)
    assert np.abs(parts[0] + parts[1] - whole).max() <= STEP
    assert 0 < np.square(parts[0]).sum() < np.square(whole).sum()


@pytest.mark.parametrize(
    ("channels", "sample_rate", "seconds"),
    [(1, 32_000, 0.1), (2, 44_100, 3.3), (8, 48_000, 1.0), (1, 3_000, 1.0), (2, 192_000, 1.0)],
)
@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_target_and_residual_keep_the_form_of_the_mixture(
    channels: int,
    sample_rate: int,
    seconds: float,
    audio_format: str,
    querysep: Querysep,
    write_tone: WriteTone,
    tmp_path: Path,
) -> None:
    mixture = write_tone(channels=channels, sample_rate=sample_rate, seconds=seconds)
    query = write_tone("query.flac", frequency_hz=880.0)
    done = querysep("separate", mixture, "-q", query, "-o", tmp_path / "out", "--format", audio_format)
    assert done.code == 0, done
    _assert_adds_up(mixture, tmp_path / "out", audio_format)


def test_stdout_names_what_was_written(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    output = tmp_path / "new" / "out"
    done = querysep("separate", write_tone(), "-q", write_tone("query.wav"), "-o", output, "--plot", "--quiet")
    *paths, presence = done.stdout.splitlines()
    names = ["mixture.target.wav", "mixture.residual.wav", "mixture.report.json", "mixture.png"]
    assert paths == [str(output / name) for name in names]
    assert files_below(output) == set(names)
    report = json.loads((output / "mixture.report.json").read_text())
    assert presence == f"presence score: {report['presence']:.2f}"
    assert report["device"] == "cpu" or report["device"].startswith(("cuda", "mps"))
    assert (output / "mixture.png").read_bytes().startswith(b"\x89PNG")
    assert done.stderr == ""


def test_each_query_gets_its_own_files(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    words = ("-q", write_tone("dog.wav"), "-q", "span:0.2-0.7", "--combine", "each", "--plot")
    done = querysep("separate", write_tone(), *words, "-o", tmp_path / "out")
    assert done.code == 0, done
    endings = ("target.wav", "residual.wav", "report.json", "png")
    names = [f"mixture.{query}.{ending}" for query in ("1-dog", "2-span-0.2-0.7") for ending in endings]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert done.stdout.count("presence score") == 2


@pytest.mark.parametrize("combine", ["mean", "max"])
def test_many_examples_make_one_target(combine: str, querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    for number in range(5):
        write_tone(f"bells/{number}.wav", frequency_hz=300.0 + 100 * number)
    words = ("-q", tmp_path / "bells", "-q", write_tone("dog.wav"), "--combine", combine)
    mixture = write_tone(channels=2)
    assert querysep("separate", mixture, *words, "-o", tmp_path / "out").code == 0
    _assert_adds_up(mixture, tmp_path / "out")


def test_warnings_are_single_lines_on_stderr(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(16_000), 16_000)
    done = querysep("separate", silent, "-q", write_tone("query.wav"), "-o", tmp_path / "out")
    assert done.code == 0
    assert done.stderr == "querysep: warning: The mixture is silent, so the target is silent too.\n"


def test_two_runs_agree_to_the_bit(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    mixture, query = write_tone(), write_tone("query.wav")
    for name in ("first", "second"):
        assert querysep("separate", mixture, "-q", query, "-o", tmp_path / name).code == 0
    first, second = (soundfile.read(tmp_path / name / "mixture.target.wav")[0] for name in ("first", "second"))
    assert np.array_equal(first, second)


_HELD = """
import contextlib, threading
from querysep.cli import main, separate

@contextlib.contextmanager
def held(quiet):
    yield wait

def wait(done, total, what):
    if what == "separating" and done >= 2:
        print("half done", flush=True)
        threading.Event().wait()

separate.progress_bar = held
main.main()
"""


@pytest.mark.parametrize(
    ("sent", "code", "told"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_stopped_run_leaves_nothing(
    sent: signal.Signals, code: int, told: str, tiny_model: Path, write_tone: WriteTone, tmp_path: Path
) -> None:
    mixture, query, output = write_tone(seconds=5), write_tone("query.wav"), tmp_path / "out"
    words = ["separate", str(mixture), "-q", str(query), "-o", str(output), "--model", str(tiny_model)]
    before = files_below(tmp_path)
    # in a script's background job Ctrl-C is ignored, which a child inherits; a handler it does not
    earlier = signal.signal(sent, signal.default_int_handler)
    command = [sys.executable, "-c", _HELD, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    signal.signal(sent, earlier)
    assert process.stdout is not None
    assert process.stdout.readline() == "half done\n", process.communicate()
    assert any(path.stat().st_size for path in output.rglob("*"))
    os.kill(process.pid, sent)
    stdout, stderr = process.communicate()
    assert process.returncode == code, stderr
    assert stdout == ""
    assert stderr.count("\n") == 1
    assert stderr.startswith(f"querysep: {told}")
    assert files_below(tmp_path) == before
