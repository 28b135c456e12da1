"""Evaluations that are cut short go on, others are refused, and what they write is valid JSON."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from toy_protocol import ToyProtocol

from querysep.errors import DataError, OutputError
from querysep.evaluation.protocols.protocol import Row
from querysep.evaluation.report.results import ModelFacts, Results, model_facts, read_results
from querysep.evaluation.report.tables import markdown
from querysep.evaluation.runner import JOURNAL, Journal, run, write
from querysep.io.files import atomic_text
from querysep.io.weights import read_folder

MODEL = ModelFacts(name="tiny", hash="0123")
_KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from toy_protocol import ToyProtocol
from querysep.evaluation.protocols.protocol import Row
from querysep.evaluation.report.results import ModelFacts
from querysep.evaluation.runner import run
folder = Path(sys.argv[2])
run(ToyProtocol(log=folder / "log", kill_at="mixture/03"), ModelFacts(name="tiny", hash="0123"), folder / "out")
"""


def _run(folder: Path, *, overwrite: bool = False, **toy: Any) -> Results:
    return run(ToyProtocol(**toy), MODEL, folder, overwrite=overwrite)


def test_a_killed_evaluation_goes_on_to_the_same_results(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", _KILLED, str(Path(__file__).parents[1]), str(tmp_path)]
    killed = subprocess.run(arguments, env=os.environ, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    journal = tmp_path / "out" / JOURNAL
    assert len(journal.read_text().splitlines()) == 4
    with journal.open("a") as file:
        file.write('{"task": "mixture/03", "rows": [{"ta')  # as if it had been cut in the midst of writing
    log = tmp_path / "log"
    resumed = _run(tmp_path / "out", log=log)
    assert log.read_text().split() == [f"mixture/{index:02d}" for index in range(6)]  # none of them twice
    assert resumed.to_json() == _run(tmp_path / "whole").to_json()
    _run(tmp_path / "out", log=log)
    assert len(log.read_text().split()) == 6  # all is done


def test_the_file_is_valid_json_and_comes_back(tmp_path: Path) -> None:
    results = _run(tmp_path / "out")
    atomic_text(tmp_path / "results.json", results.to_json())

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    raw = json.loads((tmp_path / "results.json").read_text(), parse_constant=refuse)
    assert raw["rows"][8]["values"]["sdri_db"] is None
    assert raw["summaries"][2]["values"] == {"si_sdri_db": None}
    assert raw["seed"] == 3 and raw["identity"]["model"] == {"name": "tiny", "hash": "0123"}
    assert {"querysep", "torch", "numpy"} <= set(raw["identity"]["libraries"])
    back = read_results(tmp_path / "results.json")
    assert math.isnan(back.rows[8].values["sdri_db"]) and back.rows[7] == results.rows[7]
    assert back.to_json() == results.to_json()


def test_infinite_figures_have_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ToyProtocol, "measure", lambda _self, task: [_infinite(task)])
    monkeypatch.setattr(ToyProtocol, "summarise", lambda _self, rows: [])
    rows = _run(tmp_path).rows
    assert len(rows) == 6 and all(math.isnan(row.values["sdri_db"]) for row in rows)
    assert _run(tmp_path).to_json().count('"sdri_db":null') == 6


def _infinite(task: str) -> Row:
    return Row(task=task, group="g", label="l", values={"sdri_db": -math.inf})


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"kind": "other"}, r"settings \(kind: plain, now other\)"),
        ({"count": 7}, r"settings \(count: 6, now 7\)"),
    ],
)
def test_other_settings_are_refused(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    _run(tmp_path)
    before = (tmp_path / JOURNAL).read_bytes()
    with pytest.raises(OutputError, match=what):
        _run(tmp_path, **change)
    assert (tmp_path / JOURNAL).read_bytes() == before
    anew = _run(tmp_path, overwrite=True, **change)
    assert len(anew.rows) == 2 * anew.identity.settings["count"]


def test_another_model_version_or_data_set_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(tmp_path)
    with pytest.raises(OutputError, match=r"other weights \(tiny 0123, now tiny 4567\)"):
        run(ToyProtocol(), ModelFacts(name="tiny", hash="4567"), tmp_path)
    for field, value, what in (("version", 2, "version of the protocol"), ("data_hash", "e", "recordings")):
        with monkeypatch.context() as patch:
            patch.setattr(ToyProtocol, field, value)
            with pytest.raises(OutputError, match=what):
                _run(tmp_path)


def test_results_without_rows_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(OutputError, match="without the rows"):
        _run(tmp_path)
    _run(tmp_path, overwrite=True)


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    identity = _run(tmp_path).identity
    with Journal(tmp_path, identity), pytest.raises(DataError, match="Another process"):
        _run(tmp_path, overwrite=True)


def test_a_damaged_journal_is_told(tmp_path: Path) -> None:
    _run(tmp_path)
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    lines[2] = lines[2].replace("rows", "cows")
    (tmp_path / JOURNAL).write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError, match=r"Line 3 .*--overwrite"):
        _run(tmp_path)
    assert len(_run(tmp_path, overwrite=True).rows) == 12


def test_results_of_an_older_version_are_told(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"protocol": "open/1", "summary": []}')
    with pytest.raises(DataError, match="no results of this version"):
        read_results(tmp_path / "results.json")
    with pytest.raises(DataError, match="cannot be read"):
        read_results(tmp_path / "none.json")


def test_the_three_files_are_written_and_replaced(tmp_path: Path) -> None:
    results = _run(tmp_path)
    for _ in range(2):
        paths = write(results, ToyProtocol(), tmp_path)
        assert [path.name for path in paths] == ["results.json", "table.md", "report.html"]
        assert {path.name for path in tmp_path.iterdir()} == {JOURNAL, *(path.name for path in paths)}
    assert read_results(paths[0]).to_json() == results.to_json()
    assert paths[1].read_text() == markdown(results.summaries, results.headline)
    assert _run(tmp_path).to_json() == results.to_json()


def test_the_model_is_named_by_its_folder(tiny_model: Path) -> None:
    assert model_facts(tiny_model) == ModelFacts(name="tiny", hash=read_folder(tiny_model)[2])
