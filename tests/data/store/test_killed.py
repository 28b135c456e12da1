"""A packing killed at any step leaves a readable store, and what it did not finish can be finished."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from stores import MadeUp, rows_of

from querysep.data.store import ClipStore, is_store
from querysep.data.store.packing import ShardSize, pack

_KILLS = 20
_CLIPS = 400
_SCRIPT = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from stores import MadeUp
from querysep.data.store.packing import ShardSize, pack
import pyarrow.ipc
pyarrow.array([1])  # imports what Arrow needs for it
assert "torch" not in sys.modules
folder, left = sys.argv[2], 0

def step(event, arguments):
    # Called before each thing that Python does to a file of the store, and after each clip.
    global left
    if left and (event == "clip" or event.startswith(("open", "os.")) and folder in str(arguments[:1])):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
for line in sys.stdin:  # a process for each line: what takes long, the imports, is done once
    process = os.fork()
    if process == 0:
        left = int(line)
        size = ShardSize(sound=12_000, batch=4_000)
        pack(MadeUp(int(sys.argv[3])), folder, size=size, progress=lambda *_: step("clip", ()))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@pytest.fixture
def packer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that starts a packing, a process of its own, for each number: at that step it kills itself."""
    arguments = [sys.executable, "-c", _SCRIPT, str(Path(__file__).parents[2]), str(tmp_path / "killed"), str(_CLIPS)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


def _kill_at(step: int, packer: subprocess.Popen[str]) -> int:
    """Pack until that step, and return the exit code."""
    assert packer.stdin is not None and packer.stdout is not None
    packer.stdin.write(f"{step}\n")
    packer.stdin.flush()
    return int(packer.stdout.readline())


def test_twenty_killed_packings_leave_what_an_undisturbed_one_gives(
    tmp_path: Path, packer: subprocess.Popen[str]
) -> None:
    whole, killed = MadeUp(_CLIPS), tmp_path / "killed"
    grew, there = 0, 0
    for number in range(_KILLS):
        assert _kill_at(1 + 5 * number, packer) == -signal.SIGKILL
        if not is_store(killed):
            assert there == 0  # not even what it holds was written down
            continue
        store = ClipStore(killed)
        assert not store.complete
        assert len(store.clips) >= there
        assert list(store.clips) == whole.clips[: len(store.clips)]
        for index in range(there, len(store.clips)):
            assert store.read(index).tobytes() == whole.read(index).tobytes()
        grew += len(store.clips) > there
        there = len(store.clips)
    assert grew > _KILLS // 2
    assert 0 < there < _CLIPS
    finished = pack(whole, killed, size=ShardSize(sound=12_000))
    undisturbed = pack(whole, tmp_path / "undisturbed")
    assert rows_of(finished.address) == rows_of(undisturbed.address)
    assert ClipStore(killed).complete
    assert not list(killed.glob(".*.part"))


def test_a_kill_at_each_step_of_a_shard(tmp_path: Path, packer: subprocess.Popen[str]) -> None:
    """Every step there is until the second shard has its name."""
    killed, seen = tmp_path / "killed", set()
    for step in range(1, 80):
        assert _kill_at(step, packer) == -signal.SIGKILL
        count = len(ClipStore(killed).clips) if is_store(killed) else -1
        seen.add(count)
        if killed.exists():
            for path in killed.iterdir():
                path.unlink()
        if len(seen) == 4:
            break
    assert len(seen) == 4  # no store, an empty one, one shard, two
