"""The page of results says what the committed results say."""

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from toy_protocol import ToyProtocol

from querysep.evaluation.report.results import ModelFacts, model_facts, read_results
from querysep.evaluation.report.tables import markdown
from querysep.evaluation.runner import run, write

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("results_page", ROOT / "recipes" / "results_page.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_page_is_up_to_date(recipe: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert recipe.main(ROOT, True) == 0, capsys.readouterr().out


def test_committed_tables_are_those_of_their_results() -> None:
    found = sorted(ROOT.glob("recipes/**/results/*/results.json"))
    assert found
    for path in found:
        results = read_results(path)
        assert (path.parent / "table.md").read_text() == markdown(results.summaries, results.headline)
        assert results.identity.protocol in results.command


def test_the_page_has_results_of_the_bundled_weights_only() -> None:
    shipped = model_facts("default")
    for path in ROOT.glob("recipes/*/results/*/results.json"):
        identity = read_results(path).identity
        if identity.protocol != "detection":  # of a detector alone, whose folder has another hash
            assert identity.model == shipped, path


def test_a_stale_page_is_found(recipe: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "recipes" / "small" / "results" / "toy"
    toy = ToyProtocol()
    write(run(toy, ModelFacts(name="tiny", hash="0123"), folder, command="querysep evaluate toy"), toy, folder)
    (tmp_path / "docs").mkdir()
    assert recipe.main(tmp_path, True) == 1 and "stale" in capsys.readouterr().out
    assert recipe.main(tmp_path, False) == 0 and recipe.main(tmp_path, True) == 0
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "querysep evaluate toy" in page and "weights 0123" in page and "| held-out | 6 |" in page
    other = ToyProtocol(kind="other")
    shutil.rmtree(folder)
    write(run(other, ModelFacts(name="tiny", hash="4567"), folder), other, folder)
    assert recipe.main(tmp_path, True) == 1
