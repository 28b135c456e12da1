"""Evaluation on a real Ray cluster of two processes: the same table as here."""

import os
from pathlib import Path

import pytest
from synthetic_set import make_set
from toy_protocol import ToyProtocol

from querysep.cli.main import run as cli
from querysep.distributed.evaluation import ray_evaluation
from querysep.evaluation.protocols.protocol import Protocol, Row, Summary
from querysep.evaluation.report.results import ModelFacts, read_results
from querysep.evaluation.runner import JOURNAL, run

pytest.importorskip("ray")

MODEL = ModelFacts(name="tiny", hash="0123")

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own: there are many, and they change


class Build:
    """Makes the toy protocol in a worker, and leaves word of which process that was."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count

    def __call__(self, device: str) -> Protocol:
        (self.folder / f"{os.getpid()} {device}").touch()
        return ToyProtocol(self.count, log=self.folder / "log")


def test_two_processes_give_the_same_table(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("querysep.distributed.evaluation._MOST_BATCHES", 5)  # so that batches have several tasks
    here = run(ToyProtocol(13), MODEL, tmp_path / "here")
    workers = tmp_path / "workers"
    workers.mkdir()
    with ray_evaluation(Build(workers, 13), workers=2, device="cpu") as engine:
        there = run(ToyProtocol(13), MODEL, tmp_path / "there", engine=engine)
        assert there.to_json() == here.to_json()
        assert sorted((workers / "log").read_text().split()) == sorted(ToyProtocol(13).tasks())
        _cut_after(5, tmp_path / "there" / JOURNAL)
        assert run(ToyProtocol(13), MODEL, tmp_path / "there", engine=engine).to_json() == here.to_json()
        assert len((workers / "log").read_text().split()) == 13 + 8
    processes = {path.name for path in workers.iterdir()} - {"log"}
    assert len(processes) >= 2 and not any(name.startswith(f"{os.getpid()} ") for name in processes)
    assert all(name.endswith(" cpu") for name in processes)


def _cut_after(tasks: int, journal: Path) -> None:
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[: 1 + tasks]))


def test_the_command_gives_the_same_table(
    cluster: None, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With paths from the folder of the command, where the workers are not."""
    (tmp_path / "data").mkdir()
    make_set(tmp_path / "data", train=0)
    (tmp_path / "model").symlink_to(tiny_model)
    monkeypatch.chdir(tmp_path)
    command = ["evaluate", "open", "--data", "data", "--model", "model", "--mixtures", "1", "--device", "cpu"]
    assert cli([*command, "-o", "here"]) == 0, capsys.readouterr().err
    assert cli([*command, "-o", "there", "--engine", "ray", "--workers", "2"]) == 0, capsys.readouterr().err
    assert Path("there/table.md").read_text() == Path("here/table.md").read_text()
    here, there = (read_results(Path(folder) / "results.json") for folder in ("here", "there"))
    assert len(here.rows) > 4
    assert there.identity == here.identity and there.seed == here.seed
    figures: list[tuple[Row | Summary, Row | Summary]] = [
        *zip(there.summaries, here.summaries, strict=True),
        *zip(there.rows, here.rows, strict=True),
    ]
    for one, other in figures:
        assert one.model_dump(exclude={"values", "intervals"}) == other.model_dump(exclude={"values", "intervals"})
        # Another process may add up in another order: the last digits are its own.
        assert one.values == pytest.approx(other.values, rel=1e-6, abs=1e-6, nan_ok=True)
