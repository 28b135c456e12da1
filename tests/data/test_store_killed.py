"""A packing killed at any moment leaves a readable store, and what it did not finish can be finished."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import MadeUp, rows_of

from querysep.data.store import ClipStore, is_store
from querysep.data.store_packing import Commits, pack

_KILLS = 20
_CLIPS = 400
_SCRIPT = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from stores import MadeUp
from querysep.data.store_packing import Commits, pack
from querysep.data.store_table import load_lance
load_lance()
assert "torch" not in sys.modules
for _ in sys.stdin:  # a process for each line: what takes long, the imports, is done once
    process = os.fork()
    if process == 0:
        pack(MadeUp(int(sys.argv[3]), delay_s=0.002), Path(sys.argv[2]), commits=Commits(size=12_000, batch=4_000))
        os._exit(0)
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@pytest.fixture
def packer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that starts a packing, a process of its own, for each line that it gets."""
    arguments = [sys.executable, "-c", _SCRIPT, str(Path(__file__).parents[1]), str(tmp_path / "killed"), str(_CLIPS)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0


def _kill_after(seconds: float, packer: subprocess.Popen[str]) -> int:
    """Start packing, kill it so long after it began, and return its exit code."""
    assert packer.stdin is not None and packer.stdout is not None
    packer.stdin.write("\n")
    packer.stdin.flush()
    process = int(packer.stdout.readline())
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)
    return int(packer.stdout.readline())


def test_twenty_killed_packings_leave_what_an_undisturbed_one_gives(
    tmp_path: Path, packer: subprocess.Popen[str]
) -> None:
    whole = MadeUp(_CLIPS)
    rng = random.Random(3)
    killed, grew, there = 0, 0, 0
    for _ in range(_KILLS):
        killed += _kill_after(rng.uniform(0.0, 0.15), packer) == -signal.SIGKILL
        if not is_store(tmp_path / "killed"):
            assert there == 0  # not even the empty table was there yet
            continue
        store = ClipStore(tmp_path / "killed")
        assert not store.complete
        assert len(store.clips) >= there
        assert list(store.clips) == whole.clips[: len(store.clips)]
        for index in range(there, len(store.clips)):
            assert store.read(index).tobytes() == whole.read(index).tobytes()
        grew += len(store.clips) > there
        there = len(store.clips)
    assert killed == _KILLS  # every one of them in the midst of its work
    assert grew > 3
    assert 0 < there < _CLIPS
    finished = pack(whole, tmp_path / "killed", commits=Commits(size=12_000))
    undisturbed = pack(whole, tmp_path / "undisturbed")
    assert rows_of(finished.uri) == rows_of(undisturbed.uri)
    assert ClipStore(tmp_path / "killed").complete
    named = {path.stem for path in Path(finished.uri).glob("data/*.lance")}
    assert {path.name for path in Path(finished.uri).glob("data/*/") if any(path.iterdir())} <= named
