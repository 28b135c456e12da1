"""Mining from the command line."""

from pathlib import Path

import pytest
from cli.running import Querysep
from synthetic_set import make_set

from querysep.anchors.catalog import read_catalog
from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.model import save_detector

CONFIG = HtsatConfig(
    n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, patch_size=4, classes=3
)


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    folder = tmp_path / "detector"
    save_detector(folder, Htsat(CONFIG), ("Low tone", "High tone", "Sound"))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    make_set(folder)
    return folder


def test_mining_tells_what_it_did_and_does_it_once(querysep: Querysep, data: Path, detector: Path) -> None:
    command = ("mine", "--data", data, "--detector", detector, "-o", data / "store")
    first = querysep(*command)
    assert first.code == 0, first.stderr
    anchors = len(read_catalog(data / "store").anchors)
    assert f"{anchors} anchors of 18 clips; 0 clips were mined before" in first.stdout
    assert "left out: 6 labels that the detector does not know: Clicks" in first.stdout
    assert first.stdout.splitlines()[-1] == str(data / "store")
    again = querysep(*command)
    assert "0 anchors of 0 clips; 18 clips were mined before" in again.stdout
    other = querysep(*command, "--min-score", "1")
    assert "mined anew" in other.stdout and f"left out: {anchors} anchors below the score" in other.stdout


def test_anchors_of_a_store_go_into_the_store(querysep: Querysep, data: Path, detector: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert querysep("data", "pack", data, "-o", store).code == 0
    ended = querysep("mine", "--data", store, "--detector", detector)
    assert ended.code == 0, ended.stderr
    files = tmp_path / "of-files"
    assert querysep("mine", "--data", data, "--detector", detector, "-o", files).code == 0
    assert read_catalog(store).anchors == read_catalog(files).anchors


def test_what_a_user_can_get_wrong(querysep: Querysep, data: Path, detector: Path) -> None:
    command: tuple[object, ...] = ("mine", "--data", data, "--detector", detector)
    querysep(*command).assert_refused(r"not a store.*-o STORE")
    command = (*command, "-o", data / "store")
    querysep(*command, "--stretch", 5, "--per-clip", 2).assert_refused(r"take one of them")
    querysep(*command, "--stretch", 1).assert_refused(r"shorter than an anchor")
    querysep(*command, "--choice", "published").assert_refused(r"preset 'paper'")
    querysep(*command, "--workers", 2).assert_refused(r"--engine ray")
    querysep("mine", "--data", data / "no", "--detector", detector, "-o", data / "s").assert_refused(r"no data set")


def test_without_ray_the_extra_is_named(
    querysep: Querysep, data: Path, detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    command = ("mine", "--data", data, "--detector", detector, "-o", data / "store", "--engine", "ray")
    querysep(*command).assert_refused(r"querysep\[cluster\]")
