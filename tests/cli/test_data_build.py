"""One command makes the whole open set; what is missing is told before the work begins."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from cli.running import Querysep


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the steps that were taken, instead of the steps."""
    taken: list[str] = []

    def step(name: str, result: object) -> object:
        def take(directory: Path, **_: object) -> object:
            taken.append(f"{name} {directory.name}")
            return result

        return take

    made = SimpleNamespace(skipped=(), clips=(1, 2), manifest=Path("set/manifest.jsonl"))
    monkeypatch.setattr("querysep.data.open_set.build_open_set", step("build", made))
    monkeypatch.setattr("querysep.data.rendering.render_instruments", step("phrases", [1, 2, 3]))
    monkeypatch.setattr("querysep.data.rendering_music.render_music", step("scores", [SimpleNamespace(stems=(1, 2))]))
    return taken


def test_one_command_builds_and_renders(querysep: Querysep, calls: list[str], tmp_path: Path) -> None:
    ended = querysep("data", "build", "open", "-o", tmp_path / "set")
    assert ended.code == 0
    assert calls == ["build set", "phrases set", "scores set"]
    assert ended.stdout.splitlines()[:3] == ["2 clips", "3 phrases", "1 excerpts of scores, 2 stems"]
    calls.clear()
    assert querysep("data", "build", "open", "-o", tmp_path / "set", "--no-render").code == 0
    assert calls == ["build set"]


def test_without_music21_nothing_is_begun(
    querysep: Querysep, calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    querysep("data", "build", "open", "-o", tmp_path / "set").assert_refused(r"querysep\[data\].*--no-render")
    querysep("data", "render", "-o", tmp_path / "set").assert_refused(r"querysep\[data\].*--no-music")
    assert calls == []
