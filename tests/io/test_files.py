"""Outputs appear whole or not at all, in places where they may be, and nothing of ours stays behind."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from querysep.errors import OutputError
from querysep.io import files
from querysep.io.files import OutputSet, atomic_bytes, check_folder, check_output, cut_name, json_bytes, results_among


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_parts_of_a_killed_run_go_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    killed = "import os, sys; from pathlib import Path; from querysep.io.files import OutputSet; s = OutputSet()\n"
    killed += "s.add(Path(sys.argv[1]) / 'a.wav'); os._exit(9)"
    subprocess.run([sys.executable, "-c", killed, str(tmp_path)], check=False)
    stranger = tmp_path / ".film.part"
    stranger.touch()
    assert len(_names(tmp_path)) == 2
    with OutputSet() as living:
        part = living.add(tmp_path / "b.wav")
        assert _names(tmp_path) == {part.name, ".film.part"}
        files._remove_left_parts.cache_clear()
        atomic_bytes(tmp_path / "c.wav", b"c")
        assert part.exists()
        part.write_bytes(b"b")
    assert _names(tmp_path) == {".film.part", "b.wav", "c.wav"}


@pytest.mark.parametrize("overwrite", [False, True])
def test_only_plain_files_are_replaced(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("precious")
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "dangling", "pipe"):
        with pytest.raises(OutputError, match="exists already"):
            atomic_bytes(tmp_path / name, b"", overwrite=overwrite)
    with pytest.raises(OutputError, match="exists already"):
        check_output(Path(os.devnull), overwrite=overwrite)
    assert _names(tmp_path) == {"real", "link", "dangling", "pipe"}
    assert (tmp_path / "link").is_symlink() and (tmp_path / "pipe").is_fifo()


def test_names_are_counted_in_bytes(tmp_path: Path) -> None:
    longest = "語" * 84 + "a" * 3  # 255 bytes
    atomic_bytes(tmp_path / longest, b"there")
    assert (tmp_path / longest).read_bytes() == b"there"
    with pytest.raises(OutputError, match="has 256 bytes"):
        atomic_bytes(tmp_path / "new" / f"{longest}b", b"")
    assert not (tmp_path / "new").exists()
    assert cut_name("語語", 5) == "語" and cut_name("a\udce9b", 3) == "ab"


def test_a_folder_that_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    check_folder(tmp_path / "new" / "newer")
    for wrong in ("file", "file/below", "dangling"):
        with pytest.raises(OutputError, match="not a folder"):
            check_folder(tmp_path / wrong)
        with pytest.raises(OutputError, match="not a folder"):
            check_output(tmp_path / wrong / "x.wav", overwrite=True)
    assert _names(tmp_path) == {"file", "dangling"}


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with OutputSet() as outputs:
            outputs.write(tmp_path / "new" / "a.json", b"{}")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OutputError, match="disk is full"):
        write()
    assert _names(tmp_path) == set()


def test_an_output_is_asked_for_once(tmp_path: Path) -> None:
    with OutputSet() as outputs:
        outputs.add(tmp_path / "a")
        with pytest.raises(OutputError, match="twice"):
            outputs.add(tmp_path / "a")
    assert _names(tmp_path) == {"a"}


def test_json_holds_any_name() -> None:
    name = os.fsdecode(b"caf\xe9 \xe8\xaa\x9e")
    written = json_bytes({"path": name})
    assert json.loads(written.decode("utf-8"))["path"] == name
    assert "語".encode() in written


def test_results_are_known_by_their_report() -> None:
    names = ["a.wav", "a.target.wav", "a.b.wav", "x.y.wav", "x.y.1-dog.target.wav", "x.y.1-dog.report.json"]

    def recordings(names: list[str]) -> set[str]:
        return {name for name in results_among(names) if name.endswith(".wav")}

    assert recordings(names) == {"x.y.1-dog.target.wav"}
    assert recordings([*names, "a.report.json"]) == {"a.target.wav", "a.b.wav", "x.y.1-dog.target.wav"}
