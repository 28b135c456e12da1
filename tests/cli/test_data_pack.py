from pathlib import Path

import numpy as np
import pytest
from cli.running import Querysep
from synthetic_set import make_set

from querysep.data.clips import read_clip
from querysep.data.store import ClipStore


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set"), train=2, test=1).parent


def test_a_data_set_is_packed_once(querysep: Querysep, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    outcome = querysep("data", "pack", str(folder), "-o", str(place))
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout == f"10 clips packed\n{place}\n"
    store = ClipStore(place)
    for index, clip in enumerate(store.clips):
        np.testing.assert_array_equal(store.read(index), read_clip(folder / clip.path, 32_000))
    again = querysep("data", "pack", str(folder), "-o", str(place))
    assert again.stdout.startswith("0 clips packed, 10 were there\n")


def test_one_split_at_another_rate(querysep: Querysep, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    arguments = ("data", "pack", str(folder), "-o", str(place), "--split", "train", "--sample-rate", "16000")
    assert querysep(*arguments).code == 0
    store = ClipStore(place)
    assert store.sample_rate == 16_000
    assert [clip.split for clip in store.clips] == ["train"] * 6
    assert store.samples(0) == pytest.approx(store.clips[0].duration_s * 16_000, abs=2)


def test_a_file_that_cannot_be_read_is_told_of(querysep: Querysep, tmp_path: Path) -> None:
    manifest = make_set(tmp_path, train=2, test=1)
    broken = tmp_path / "train-Low-tone-0.flac"
    broken.write_bytes(broken.read_bytes()[:90])
    outcome = querysep("data", "pack", str(tmp_path), "-o", str(tmp_path / "store"))
    assert outcome.code == 0
    assert "querysep: warning: train-Low-tone-0.flac: " in outcome.stderr
    assert len(ClipStore(tmp_path / "store").clips) == 9
    assert manifest.is_file()


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (("{set}", "-o", "{store}", "--split", "dev"), "'dev' is no split"),
        (("{set}", "-o", "{store}", "--storage-option", "region"), "key=value"),
        (("{set}/nothing", "-o", "{store}"), "no data set at"),
        (("{packed}", "-o", "{packed}"), "the store itself"),
        (("{packed}", "-o", "{store}", "--sample-rate", "8000"), "32000 Hz, and 8000 Hz"),
        (("{packed}", "-o", "{store}", "--layout", "esc50"), "esc50|folder|file"),
    ],
)
def test_mistakes_are_told_in_a_line(
    querysep: Querysep, folder: Path, tmp_path: Path, arguments: tuple[str, ...], pattern: str
) -> None:
    packed = tmp_path / "packed"
    if "{packed}" in arguments:
        assert querysep("data", "pack", str(folder), "-o", str(packed)).code == 0
    places = {"set": folder, "store": tmp_path / "store", "packed": packed}
    outcome = querysep("data", "pack", *(argument.format(**places) for argument in arguments))
    outcome.assert_refused(pattern)
