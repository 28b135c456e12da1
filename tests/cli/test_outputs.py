"""Where commands read from and write to: pipes, any name, links, full disks, the folder of the examples itself."""

import errno
import io
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli.running import Querysep, files_below
from recordings import WriteTone

from querysep.cli.main import run
from querysep.cli.terminal import print_any_name
from querysep.io.mixture_source import MixtureSource
from querysep.pipeline import to_files

NO_UTF8 = os.fsdecode(b"caf\xe9")


def _pipe_from(recording: Path, pipe: Path) -> Path:
    """Make a named pipe and write a recording into it once."""
    os.mkfifo(pipe)
    threading.Thread(target=lambda: pipe.write_bytes(recording.read_bytes()), daemon=True).start()
    return pipe


def test_named_pipes_are_mixtures(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    mixture, out = write_tone(), tmp_path / "out"
    pipe = _pipe_from(mixture, tmp_path / "pipe.wav")
    ended = querysep("separate", pipe, "-q", "span:0.1-0.9", "-o", out, "--plot")
    assert ended.code == 0, ended.stderr
    report = json.loads((out / "pipe.report.json").read_text())
    assert report["mixture"]["path"] == str(pipe)
    whole = soundfile.read(out / "pipe.target.wav")[0] + soundfile.read(out / "pipe.residual.wav")[0]
    np.testing.assert_allclose(whole, soundfile.read(mixture)[0], atol=2e-7)


@pytest.mark.parametrize("command", ["split", "detect"])
def test_standard_input_is_a_mixture(
    command: str, querysep: Querysep, write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(write_tone().read_bytes())))
    monkeypatch.chdir(tmp_path)
    ended = querysep(command, "-", *(["-o", "out", "--plot"] if command == "split" else ["--plot", "out/a.svg"]))
    assert ended.code == 0, ended.stderr
    assert ("out/stdin.rest.wav" if command == "split" else "out/a.svg") in ended.new_files


def test_a_pipe_with_nothing_right_in_it_is_one_line(
    querysep: Querysep, write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    querysep("detect", "-").assert_refused("'-' is empty")
    querysep("detect", "/dev/zero").assert_refused("pipe or device")
    os.mkfifo(tmp_path / "query.wav")
    querysep("separate", write_tone(), "-q", tmp_path / "query.wav", "-o", tmp_path).assert_refused("pipe or device")


def test_a_spooled_pipe_leaves_no_file(write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    source = MixtureSource(_pipe_from(write_tone(), tmp_path / "pipe"))
    assert sum(block.shape[1] for block in source.blocks()) == sum(block.shape[1] for block in source.blocks())
    assert files_below(tmp_path / "tmp")
    del source
    assert not files_below(tmp_path / "tmp")


def test_names_that_are_not_utf8(
    write_tone: WriteTone, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture = write_tone("a.wav").rename(tmp_path / f"{NO_UTF8}.wav")
    query = write_tone("b.wav").rename(tmp_path / f"query{NO_UTF8}.wav")
    printed, told = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, "cp1252"))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(told, "utf-8", write_through=True))
    print_any_name()
    out = ["-o", str(tmp_path / "語"), "--plot", "--model", str(tiny_model)]
    assert run(["separate", str(mixture), "-q", str(query), *out]) == 0
    assert b"\\u8a9e/caf\xe9.target.wav\n" in printed.getvalue()
    report = json.loads((tmp_path / "語" / f"{NO_UTF8}.report.json").read_text())
    assert report["mixture"]["path"] == str(mixture)
    assert report["queries"][0]["examples"][0]["name"] == str(query)
    assert run(["split", str(mixture), *out, "--overwrite"]) == 0
    assert run(["detect", str(mixture), "--plot", str(tmp_path / f"{NO_UTF8}.jpg"), *out[3:]]) == 0
    assert run(["detect", str(tmp_path / f"no{NO_UTF8}.wav"), *out[3:]]) == 2
    assert b"/nocaf" in told.getvalue()


def test_a_data_set_with_odd_names_and_links_in_circles(
    write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("set/dog/a.wav", "set/cat/a.wav", "set/dog/b.wav")):
        write_tone(name, frequency_hz=200 + 100 * number)
    (tmp_path / "set/dog/b.wav").rename(tmp_path / f"set/dog/{NO_UTF8}.wav")
    (tmp_path / "set" / "dog" / "back").symlink_to("..")
    (tmp_path / "set" / "dog" / "over").symlink_to("../cat")
    (tmp_path / "set" / "cat" / "over").symlink_to("../dog")
    (tmp_path / "set" / "cat" / "self").symlink_to("self")
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "utf-8"))
    print_any_name()
    assert run(["data", "check", str(tmp_path / "set"), "--no-labels", "--json", str(tmp_path / "found.json")]) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert {one["detail"] for one in found["findings"] if one["kind"] == "unreadable"} == {
        "Its name is not UTF-8. Rename it."
    }


def test_the_home_folder_also_where_the_shell_leaves_it(
    querysep: Querysep, write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_tone("a.wav")
    ended = querysep("separate", "~/a.wav", "-q", "~/a.wav", "--output=~/out")
    assert ended.code == 0, ended.stderr
    assert (tmp_path / "out" / "a.target.wav").is_file()


def test_results_are_no_examples(querysep: Querysep, write_tone: WriteTone, tmp_path: Path) -> None:
    mixture, examples = write_tone(), write_tone("dogs/dog.wav").parent
    for times in range(2):
        ended = querysep("separate", mixture, "-q", examples, "-o", examples / "out", "--overwrite")
        assert ended.code == 0, ended.stderr
        report = json.loads((examples / "out" / "mixture.report.json").read_text())
        assert report["queries"][0]["examples_used"] == 1, times


@pytest.mark.parametrize("command", ["separate", "split"])
def test_a_disk_that_is_full_for_the_picture_leaves_nothing(
    command: str, querysep: Querysep, write_tone: WriteTone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(to_files, "draw", full)
    query = ["-q", write_tone("query.wav")] if command == "separate" else []
    querysep(command, write_tone(), *query, "-o", tmp_path / "out", "--plot").assert_refused("disk is full")


@pytest.mark.parametrize(
    ("name", "begins"), [("a.jpg", b"\xff\xd8\xff"), ("a.PNG", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")]
)
def test_a_picture_is_what_its_ending_says(
    name: str, begins: bytes, querysep: Querysep, write_tone: WriteTone, tmp_path: Path
) -> None:
    assert querysep("detect", write_tone(), "--plot", tmp_path / name).code == 0
    assert (tmp_path / name).read_bytes().startswith(begins)
    querysep("detect", write_tone(), "--plot", tmp_path / "a.xyz").assert_refused(r"\.png, \.jpg")


@pytest.mark.parametrize(
    "words",
    [
        ("train", "detector", "--data", "set"),
        ("train", "separator", "--data", "set", "--detector", "none"),
        ("train", "finetune", "--data", "set"),
        ("data", "pack", "set"),
        ("data", "stats", "set"),
        ("mine", "--data", "set", "--detector", "none"),
        ("evaluate", "open", "--data", "set"),
        ("import-official", "--separator", "none"),
        ("separate", "none", "-q", "none"),
        ("split", "none"),
    ],
)
def test_a_file_in_the_place_of_the_output_folder_is_told_first(
    words: tuple[str, ...], querysep: Querysep, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("precious")
    querysep(*words, "-o", tmp_path / "file").assert_refused("file' is not a folder")


def test_an_error_of_the_system_is_one_line(
    querysep: Querysep, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken() -> None:
        raise OSError(errno.EIO, "Input/output error", str(tmp_path / "a.wav"))

    monkeypatch.setattr("querysep.model.bundled_models", broken)
    querysep("models").assert_refused(r"a\.wav.: Input/output error")
