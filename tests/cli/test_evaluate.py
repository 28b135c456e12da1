"""Evaluation from the command line."""

import json
import sys
from pathlib import Path

import pytest
from cli.running import Querysep
from synthetic_set import make_set

from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.evaluation.protocols.request import FLAGS, TAKES, ProtocolName, Request
from querysep.model import save_detector

CONFIG = HtsatConfig(
    n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, patch_size=4, classes=3
)


@pytest.fixture
def ears(tmp_path: Path) -> Path:
    folder = tmp_path / "ears"
    save_detector(folder, Htsat(CONFIG), ("Low tone", "High tone", "Clicks"))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return make_set(folder, train=0, test=3).parent


def test_one_command_gives_files_and_table(querysep: Querysep, data: Path, ears: Path, tmp_path: Path) -> None:
    output = tmp_path / "results"
    command = ("evaluate", "detection", "--data", data, "--model", ears, "--mixtures", 3, "-o", output)
    first = querysep(*command)
    assert first.code == 0, first.stderr
    names = {"results.json", "table.md", "report.html", "rows.jsonl"}
    assert set(first.new_files) == {"results", *(f"results/{name}" for name in names)}
    assert first.stdout.startswith((output / "table.md").read_text())
    assert first.stdout.splitlines()[-3:] == [
        str(output / name) for name in ("results.json", "table.md", "report.html")
    ]
    content = json.loads((output / "results.json").read_text())
    assert content["identity"]["protocol"] == "detection" and content["identity"]["settings"]["mixtures"] == 3
    assert content["command"] == f"querysep evaluate detection --data {data} --model {ears} --mixtures 3 -o {output}"
    before = (output / "results.json").read_bytes()
    assert querysep(*command).stdout == first.stdout
    assert (output / "results.json").read_bytes() == before
    querysep(*command, "--seed", 1).assert_refused(r"other settings \(seed: 0, now 1\).*--overwrite")
    assert (output / "results.json").read_bytes() == before
    assert querysep(*command, "--seed", 1, "--overwrite").code == 0
    assert json.loads((output / "results.json").read_text())["seed"] == 1


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (("open",), r"open needs --data PATH: .*openset build"),
        (
            ("detection", "--data", "d", "--compare", "other"),
            r"detection takes no --compare; it takes --mixtures, --seed",
        ),
        (("musdb18-paper", "--data", "d", "--mixtures", "3"), r"musdb18-paper takes no --mixtures; it has no such"),
        (("held-out", "--data", "d", "--robustness"), r"held-out takes no --robustness"),
        (("detection", "--data", "d", "--workers", "2"), r"--workers are of the Ray engine"),
        (("detection", "--data", "d", "--model", "none"), r"no weights folder at 'none'"),
        (("detection", "--data", "nowhere"), r"no data set at 'nowhere'"),
        (("loudness", "--data", "d"), r"musdb18-sisec"),
    ],
)
def test_what_a_user_can_get_wrong(
    querysep: Querysep, tmp_path: Path, arguments: tuple[str, ...], pattern: str
) -> None:
    querysep("evaluate", *arguments, "-o", tmp_path / "out").assert_refused(pattern)


def test_a_missing_package_is_named_with_its_extra(
    querysep: Querysep, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("protocols.detection", "metrics.classification"):
        monkeypatch.delitem(sys.modules, f"querysep.evaluation.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.classification", None)
    command = ("evaluate", "detection", "--data", data, "-o", tmp_path / "out")
    querysep(*command).assert_refused(r"detection needs the package torchmetrics: pip install 'querysep\[eval\]'")
    monkeypatch.setitem(sys.modules, "jinja2", None)
    querysep(*command).assert_refused(r"pip install 'querysep\[eval\]'")


def test_every_protocol_is_listed_with_options_that_have_a_flag() -> None:
    assert set(TAKES) == set(ProtocolName)
    assert {option for options in TAKES.values() for option in options} == set(FLAGS)


def test_a_request_repeats_itself_and_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"mixtures": 5, "compare": ["a b", "default"], "robustness": True}
    request = Request(protocol=ProtocolName.OPEN, data="set", model="run/model", options=options)
    assert request.command("out") == (
        "querysep evaluate open --data set --model run/model --mixtures 5 --compare 'a b' --compare default "
        "--robustness -o out"
    )
    located = request.located()
    assert located.data == str(tmp_path / "set") and located.model == str(tmp_path / "run/model")
    assert located.options["compare"] == [str(tmp_path / "a b"), "default"]  # the bundled one is found by its name
