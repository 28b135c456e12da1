"""One command makes the whole open set; mistakes end in one line."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from openset.cli import run
from querysep.errors import DataError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that were taken, instead of the steps."""
    taken: list[str] = []

    def step(name: str, result: object) -> object:
        def take(directory: Path, *, cache: Path, folder: Path | None = None, **_: object) -> object:
            taken.append(f"{name} {directory.name} {cache.name}{f' {folder}' if folder else ''}")
            return result

        return take

    made = SimpleNamespace(skipped=("game:mute.wav",), clips=(1, 2), manifest=Path("set/manifest.jsonl"))
    monkeypatch.setattr("openset.building.build_open_set", step("build", made))
    added = SimpleNamespace(skipped=("some/dogs:gone.wav@0",), clips=(1, 2, 3, 4))
    monkeypatch.setattr("openset.repositories.add_repositories", step("repositories", added))
    monkeypatch.setattr("openset.rendering.render_instruments", step("phrases", [1, 2, 3]))
    monkeypatch.setattr("openset.scores.render_music", step("scores", [SimpleNamespace(stems=(1, 2))]))
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    return taken


def test_one_command_builds_and_renders(calls: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["build", "-o", str(tmp_path / "set")]) == 0
    assert calls == ["build set openset", "repositories set openset", "phrases set openset", "scores set openset"]
    captured = capsys.readouterr()
    assert captured.out.splitlines()[:4] == [
        "2 clips", "4 clips out of public repositories", "3 phrases", "1 excerpts of scores, 2 stems"
    ]  # fmt: skip
    assert captured.err.splitlines() == [
        "openset: warning: Recordings not taken: 1, such as game:mute.wav.",
        "openset: warning: Clips not taken: 1, such as some/dogs:gone.wav@0.",
    ]
    calls.clear()
    quiet = ["build", "-o", str(tmp_path / "set"), "--no-render", "--quiet", "--cache", "kept"]
    assert run([*quiet, "--packages-only"]) == 0
    assert calls == ["build set kept"]
    assert run([*quiet, "--repositories", "clips"]) == 0
    assert calls[1:] == ["build set kept", "repositories set kept clips"]
    assert capsys.readouterr().err == ""


def test_music_is_rendered_alone_and_in_part(calls: list[str], tmp_path: Path) -> None:
    assert run(["render", "-o", str(tmp_path / "set")]) == 0
    assert calls == ["phrases set openset", "scores set openset"]
    calls.clear()
    assert run(["render", "-o", str(tmp_path / "set"), "--no-music"]) == 0
    assert calls == ["phrases set openset"]


@pytest.mark.usefixtures("calls")
def test_mistakes_end_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DataError("apt-get could not\ndownload 'game'.")

    monkeypatch.setattr("openset.building.build_open_set", fail)
    assert run(["build", "-o", "set"]) == 2
    assert capsys.readouterr().err == "openset: error: apt-get could not download 'game'.\n"
    assert run(["build"]) == 2
    assert capsys.readouterr().err == "openset: error: Missing option '-o' / '--output'. See `openset --help`.\n"
    monkeypatch.setattr("openset.building.build_open_set", _interrupt)
    assert run(["build", "-o", "set"]) == 130
    assert capsys.readouterr().err == "openset: interrupted; the same command goes on where it stopped.\n"


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_help_starts_without_what_takes_seconds() -> None:
    code = "import openset.cli, sys; sys.stdout.write(' '.join(sys.modules))"
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=paths)
    assert not {"torch", "numpy", "music21", "soundfile"}.intersection(ended.stdout.split())


@pytest.mark.parametrize("command", ["build", "render"])
def test_a_file_in_the_place_of_the_set_is_told_before_anything_is_fetched(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("precious")
    assert run([command, "-o", str(tmp_path / "file"), "--cache", str(tmp_path / "cache")]) == 2
    assert "file' is not a folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
