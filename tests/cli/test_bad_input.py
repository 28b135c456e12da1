"""Whatever a user can get wrong: one line that says what to do, exit code 2, nothing half-written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli.running import Querysep, files_below
from recordings import WriteTone
from safetensors.numpy import load_file, save_file


def _bad_audio(kind: str, folder: Path) -> Path:
    """Write a broken recording of some kind and return its path."""
    path = folder / ("bad.flac" if kind == "truncated flac" else "bad.wav")
    noise = np.random.default_rng(0).standard_normal(32_000) * 0.1
    match kind:
        case "missing":
            pass
        case "folder":
            path.mkdir()
        case "empty":
            path.touch()
        case "not audio":
            path.write_text("Dear diary, today I recorded nothing.\n" * 50)
        case "zero length":
            soundfile.write(path, noise[:0], 16_000)
        case "not a number":
            noise[20_000] = np.nan
            soundfile.write(path, noise, 16_000, subtype="FLOAT")
        case _:
            soundfile.write(path, noise, 16_000)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


BAD_AUDIO = {
    "missing": "no file",
    "folder": "folder",
    "empty": "empty",
    "not audio": "audio",
    "zero length": "no samples",
    "not a number": "NaN",
    "truncated wav": "truncated",
    "truncated flac": "truncated",
}


@pytest.mark.parametrize(("kind", "told"), BAD_AUDIO.items())
def test_bad_mixture(kind: str, told: str, querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    query, mixture = write_tone("query.wav"), _bad_audio(kind, tmp_path)
    querysep("separate", mixture, "-q", query, "-o", tmp_path / "out", "--plot").assert_refused(told)
    querysep("detect", mixture).assert_refused(told)
    querysep("detect", mixture, "--json", tmp_path / "e.json", "--plot", tmp_path / "e.png").assert_refused(told)


@pytest.mark.parametrize(("kind", "told"), [*BAD_AUDIO.items()])
def test_bad_query(kind: str, told: str, querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    mixture, query = write_tone(), _bad_audio(kind, tmp_path)
    told = "no audio" if kind == "folder" else told
    querysep("separate", mixture, "-q", query, "-o", tmp_path / "out").assert_refused(told)


def test_silent_query(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(32_000), 32_000)
    querysep("separate", write_tone(), "-q", silent, "-o", tmp_path / "out").assert_refused("silen")


def test_query_folder_without_audio(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "readme.txt").write_text("no sound here")
    querysep("separate", write_tone(), "-q", folder, "-o", tmp_path / "out").assert_refused("no audio")


@pytest.mark.parametrize("query", ["span:5-9", "span:0.9-0.2", "span:x", "span:", "", "text:", "bank:"])
def test_query_that_means_nothing(query: str, querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    querysep("separate", write_tone(), "-q", query, "-o", tmp_path / "out").assert_refused(".")


def test_output_below_a_file(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    mixture, query = write_tone(), write_tone("query.wav")
    querysep("separate", mixture, "-q", query, "-o", query / "out").assert_refused("folder")
    querysep("separate", mixture, "-q", query, "-o", query).assert_refused("folder")
    querysep("detect", mixture, "--csv", query / "events.csv").assert_refused("folder")


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_full_disk(audio_format: str, tiny_model: Path, write_tone: WriteTone, tmp_path: Path) -> None:
    mixture, query = write_tone(seconds=5), write_tone("query.wav")
    before = files_below(tmp_path)
    words: list[object] = [
        Path(sys.executable).with_name("querysep"),
        "separate",
        mixture,
        "-q",
        query,
        "-o",
        tmp_path / "out",
    ]
    words += ["--model", tiny_model, "--format", audio_format]
    # The limit on a file's size makes the kernel refuse the write, as a full disk does.
    ended = subprocess.run(
        ["bash", "-c", 'ulimit -f 100; exec "$@"', "-", *map(str, words)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2, ended
    assert ended.stderr.count("\n") == 1
    assert "disk is full" in ended.stderr
    assert files_below(tmp_path) == before


@pytest.mark.parametrize("exists", ["mixture.target.wav", "mixture.residual.wav", "mixture.report.json", "mixture.png"])
def test_output_that_exists(exists: str, querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    mixture, query, output = write_tone(), write_tone("query.wav"), tmp_path / "out"
    output.mkdir()
    (output / exists).write_text("precious")
    querysep("separate", mixture, "-q", query, "-o", output, "--plot").assert_refused("--overwrite")
    assert (output / exists).read_text() == "precious"
    assert querysep("separate", mixture, "-q", query, "-o", output, "--plot", "--overwrite").code == 0
    assert (output / exists).read_bytes() != b"precious"


def test_detect_keeps_files_that_exist(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    events = tmp_path / "events.csv"
    events.write_text("precious")
    querysep("detect", write_tone(), "--csv", events, "--json", tmp_path / "e.json").assert_refused("--overwrite")
    assert events.read_text() == "precious"


def test_unknown_model(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    words = ("separate", write_tone(), "-q", write_tone("query.wav"), "-o", tmp_path / "out", "--model", "huge")
    querysep(*words).assert_refused("huge.*querysep models")


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("cut tensors", "model.safetensors"),
        ("bad JSON", "config.json"),
        ("unknown field", "detecter"),
        ("no config", "config.json"),
        ("no tensors", "model.safetensors"),
        ("missing tensor", r"missing.*after_conv\.bias"),
        ("misshapen tensor", r"shape.*after_conv\.bias"),
        ("empty folder", "config.json"),
    ],
)
def test_corrupt_weights(
    damage: str, told: str, querysep: Querysep, write_tone: WriteTone, tiny_model: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config, weights = folder / "config.json", folder / "model.safetensors"
    tensors = load_file(weights)
    bias = next(name for name in tensors if name.endswith("after_conv.bias"))
    match damage:
        case "cut tensors":
            weights.write_bytes(weights.read_bytes()[:-1000])
        case "bad JSON":
            config.write_text(config.read_text()[:-10])
        case "unknown field":
            config.write_text(json.dumps({**json.loads(config.read_text()), "detecter": 1}))
        case "no config":
            config.unlink()
        case "no tensors":
            weights.unlink()
        case "missing tensor":
            save_file({name: tensor for name, tensor in tensors.items() if name != bias}, weights)
        case "misshapen tensor":
            save_file({**tensors, bias: np.zeros(99, dtype=np.float32)}, weights)
        case "empty folder":
            shutil.rmtree(folder)
            folder.mkdir()
    words = ("separate", write_tone(), "-q", write_tone("query.wav"), "-o", tmp_path / "out", "--model", folder)
    querysep(*words).assert_refused(told)


def test_device_that_is_not_there(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    import torch

    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    words = ("separate", write_tone(), "-q", write_tone("query.wav"), "-o", tmp_path / "out", "--device", absent)
    querysep(*words).assert_refused("--device cpu")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("separate",), "MIXTURE"),
        (("separate", "a.wav"), "--query"),
        (("separate", "a.wav", "-q", "b.wav", "--combine", "sum"), "'mean', 'each', 'max'"),
        (("detect", "a.wav", "--threshold", "3"), "threshold"),
        (("sepparate",), "sepparate"),
    ],
)
def test_misused_command(words: tuple[str, ...], told: str, querysep: Querysep) -> None:
    querysep(*words).assert_refused(told)
