import json
import multiprocessing
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from stores import RATE, MadeUp, rows_of, stop_at
from torch.utils.data import DataLoader, Dataset

from querysep.data.formats import DataFormat
from querysep.data.formats.data_set import open_recordings
from querysep.data.manifest import Clip
from querysep.data.store import ClipStore, is_store
from querysep.data.store.clips import KIND, clip_schema
from querysep.data.store.packing import ShardSize, pack
from querysep.data.store.shards import ShardWriter
from querysep.errors import ConfigError, DataError, OutputError

SMALL = ShardSize(sound=8_000, batch=3_000)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    pack(MadeUp(20), folder, size=SMALL)
    return folder


def _assert_holds(store: ClipStore, made_up: MadeUp) -> None:
    assert list(store.clips) == made_up.clips
    for index in range(made_up.count):
        np.testing.assert_array_equal(store.read(index), made_up.read(index))
        assert store.samples(index) == len(made_up.read(index))


def test_a_store_gives_back_rows_and_sound(folder: Path) -> None:
    store = ClipStore(folder)
    assert store.sample_rate == RATE
    assert store.complete
    assert len(list(folder.glob("clips-*.arrow"))) > 3
    _assert_holds(store, MadeUp(20))


def test_arrows_own_tools_open_the_shards(folder: Path) -> None:
    """The table of docs/store.md; what is not a shard begins so that Arrow leaves it out."""
    whole = MadeUp(20)
    table = pa.dataset.dataset(folder, format="ipc").to_table()
    assert {field.name: str(field.type) for field in table.schema} == {
        "path": "string",
        "row": "int64",
        "start_s": "double",
        "labels": "list<item: string>",
        "duration_s": "double",
        "licence": "string",
        "source": "string",
        "origin": "string",
        "split": "string",
        "held_out": "bool",
        "samples": "int64",
        "problem": "string",
        "sound": "list<item: int16>",
    }
    assert table["sound"].to_pylist() == [whole.read(index).tolist() for index in range(20)]
    rows = table.drop_columns(["samples", "problem", "sound"]).to_pylist()
    assert [Clip(**row) for row in rows] == whole.clips
    with pa.memory_map(str(folder / "clips-00001.arrow")) as source:
        shard = pa.ipc.open_file(source)
        assert json.loads(shard.schema.metadata[b"querysep"]).items() >= {"kind": "clips", "sample_rate": RATE}.items()
        (first, *_) = shard.get_batch(0)["sound"].to_pylist()
    assert first in table["sound"].to_pylist()


def test_sound_is_a_view_of_the_shard(folder: Path) -> None:
    store = ClipStore(folder)
    before = pa.total_allocated_bytes()
    sound = store.read(3)
    assert not sound.flags.owndata and not sound.flags.writeable
    assert np.shares_memory(sound, store.read(3, 5, 6))
    assert pa.total_allocated_bytes() == before


@given(index=st.integers(0, 19), start=st.integers(0, 4000), count=st.none() | st.integers(0, 4000))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_part_of_a_clip_is_read(folder: Path, index: int, start: int, count: int | None) -> None:
    part = ClipStore(folder).read(index, start, count)
    np.testing.assert_array_equal(part, MadeUp(20).read(index, start, count))


def test_one_split_is_taken(folder: Path) -> None:
    part = ClipStore(folder, split="validation")
    whole = MadeUp(20)
    indices = [index for index, clip in enumerate(whole.clips) if clip.split == "validation"]
    assert list(part.clips) == [whole.clips[index] for index in indices]
    np.testing.assert_array_equal(part.read(2), whole.read(indices[2]))


def test_packing_goes_on_where_it_stopped(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(MadeUp(20), tmp_path, size=SMALL, progress=stop_at(13))
    half = ClipStore(tmp_path)
    assert not half.complete
    assert 0 < len(half.clips) < 13
    _assert_holds(half, MadeUp(len(half.clips)))
    assert any("unfinished" in warning for warning in open_recordings(tmp_path, RATE).warnings)
    packed = pack(MadeUp(20), tmp_path, size=SMALL)
    assert packed.added == 20 - len(half.clips)
    assert rows_of(packed.address) == rows_of(folder)
    assert ClipStore(tmp_path).complete
    assert open_recordings(tmp_path, RATE).warnings == ()
    assert pack(MadeUp(20), tmp_path).added == 0


def test_a_grown_data_set_is_packed_on(tmp_path: Path) -> None:
    pack(MadeUp(5), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pack(MadeUp(9), tmp_path, size=ShardSize(sound=1), progress=stop_at(8))
    assert not ClipStore(tmp_path).complete
    assert pack(MadeUp(9), tmp_path).added == 2
    _assert_holds(ClipStore(tmp_path), MadeUp(9))


def test_no_clips_make_an_empty_store(tmp_path: Path) -> None:
    pack(MadeUp(0), tmp_path)
    store = ClipStore(tmp_path)
    assert store.complete and len(store.clips) == 0


def test_what_a_dead_writer_left_is_taken_away(tmp_path: Path) -> None:
    pack(MadeUp(5), tmp_path)
    names = ("clips-00001.arrow", "_clips-00001.rows", "_clips.json")
    litter = [tmp_path / f".{name}.0a1b2c3d.part" for name in names]
    others = tmp_path / ".anchors-00001.arrow.0a1b2c3d.part"
    for path in (*litter, others):
        path.write_bytes(b"half")
    pack(MadeUp(6), tmp_path)
    assert not any(path.exists() for path in litter)
    assert others.exists()  # another process may be mining
    _assert_holds(ClipStore(tmp_path), MadeUp(6))


def test_other_clips_or_another_rate_are_refused(tmp_path: Path) -> None:
    pack(MadeUp(5), tmp_path)
    with pytest.raises(DataError, match="other clips"):
        pack(MadeUp(4), tmp_path)
    other = MadeUp(6)
    other.sample_rate = 2 * RATE
    with pytest.raises(DataError, match="16000 Hz"):
        pack(other, tmp_path)
    _assert_holds(ClipStore(tmp_path), MadeUp(5))


def test_a_clip_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    broken = MadeUp(8, broken=frozenset({0, 5}))
    packed = pack(broken, tmp_path)
    assert packed.unreadable == (
        ("folder/clip-0.flac", "Clip 0 is broken."),
        ("folder/clip-5.flac", "Clip 5 is broken."),
    )
    opened = open_recordings(tmp_path, RATE)
    assert opened.data_format is DataFormat.STORE
    assert [(one.path, one.detail) for one in opened.problems] == list(packed.unreadable)
    good = [index for index in range(8) if index not in broken.broken]
    assert list(opened.clips) == [broken.clips[index] for index in good]
    for place, index in enumerate(good):
        np.testing.assert_array_equal(opened.read(place), broken.read(index))
    assert pack(broken, tmp_path).added == 0
    assert rows_of(tmp_path)[5]["sound"] is None


def test_a_clip_that_is_too_long_for_a_store_is_reported(tmp_path: Path) -> None:
    class Endless(MadeUp):
        def read(self, index: int, start: int = 0, count: int | None = None) -> NDArray[np.int16]:
            return np.broadcast_to(np.int16(0), 2**31) if index == 1 else super().read(index, start, count)

    ((path, problem),) = pack(Endless(3), tmp_path).unreadable
    assert path == "folder/clip-1.flac" and "longer than" in problem
    np.testing.assert_array_equal(ClipStore(tmp_path).read(1), MadeUp(3).read(2))


@pytest.mark.parametrize("error", [TypeError, ValueError])
def test_a_bug_in_the_recordings_comes_out_as_itself(tmp_path: Path, error: type[Exception]) -> None:
    class Floats(MadeUp):
        def read(self, index: int, start: int = 0, count: int | None = None) -> Any:
            if error is TypeError:
                return np.zeros(10)
            if index:
                raise error("a bug")
            return super().read(index)

    with pytest.raises(error, match=r"float64|a bug"):
        pack(Floats(3), tmp_path, size=ShardSize(batch=1))


def test_only_one_process_packs(tmp_path: Path) -> None:
    pack(MadeUp(2), tmp_path)
    with (
        ShardWriter(tmp_path, KIND, clip_schema(), {"sample_rate": RATE}),
        pytest.raises(DataError, match="Another process"),
    ):
        pack(MadeUp(4), tmp_path)
    assert pack(MadeUp(4), tmp_path).added == 2


def test_two_writers_without_a_lock_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("querysep.data.store.places._lock", lambda path, wait: None)  # as on S3
    with ShardWriter(tmp_path, KIND, clip_schema(), {"sample_rate": RATE}) as writer:
        pack(MadeUp(4), tmp_path)
        before = sorted(tmp_path.iterdir())
        batch = pa.RecordBatch.from_pylist([], schema=clip_schema())
        with pytest.raises(DataError, match="Another process"):
            writer.append([batch])
        assert sorted(tmp_path.iterdir()) == before
    _assert_holds(ClipStore(tmp_path), MadeUp(4))


class _Sounds(Dataset[torch.Tensor]):
    def __init__(self, store: ClipStore) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store.clips)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, *np.resize(self._store.read(index), 50)])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_a_data_loader_with_two_workers_reads_what_one_process_reads(folder: Path) -> None:
    sounds = _Sounds(ClipStore(folder))
    alone = [sounds[index] for index in range(len(sounds))]  # the shards were mapped before the workers start
    with_workers = [row for batch in DataLoader(sounds, batch_size=3, num_workers=2) for row in batch]
    assert all(torch.equal(one, other) for one, other in zip(alone, with_workers, strict=True))


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_process_that_starts_in_any_way_reads(folder: Path, method: str) -> None:
    store = ClipStore(folder)
    store.read(3)
    with multiprocessing.get_context(method).Pool(1) as pool:
        for index, sound in enumerate(pool.starmap(store.read, [(index, 2, 90) for index in range(20)])):
            np.testing.assert_array_equal(sound, MadeUp(20).read(index, 2, 90))


def test_a_store_is_pickled_as_an_address(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    parcel = pickle.dumps(ClipStore(folder.name, split="test"))
    assert len(parcel) < 500
    monkeypatch.chdir("/")
    store = pickle.loads(parcel)
    assert [clip.split for clip in store.clips] == ["test"] * 6
    np.testing.assert_array_equal(store.read(1), MadeUp(20).read(5))


def test_another_process_sees_the_rows_that_were_there(tmp_path: Path) -> None:
    pack(MadeUp(3), tmp_path)
    old = ClipStore(tmp_path)
    parcel = pickle.dumps(old)
    pack(MadeUp(6), tmp_path)
    _assert_holds(old, MadeUp(3))
    _assert_holds(pickle.loads(parcel), MadeUp(3))
    for path in tmp_path.iterdir():
        path.unlink()
    pack(MadeUp(6), tmp_path)
    with pytest.raises(DataError, match="written anew"):
        pickle.loads(parcel)
    _assert_holds(old, MadeUp(3))  # what is mapped stays


def test_what_is_wrong_with_a_store_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no store of clips"):
        ClipStore(tmp_path)
    with pytest.raises(DataError, match="no store of clips"):
        open_recordings(tmp_path, RATE, data_format=DataFormat.STORE)
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(OutputError, match="not a folder"):
        pack(MadeUp(2), file)
    with pytest.raises(ConfigError, match="s3://bucket/prefix, not 'gs://bucket'"):
        ClipStore("gs://bucket")
    pack(MadeUp(2), tmp_path)
    with pytest.raises(DataError, match="'dev' is no split"):
        ClipStore(tmp_path, split="dev")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="8000 Hz, and 16000 Hz"):
        open_recordings(tmp_path, 2 * RATE)
    with pytest.raises(DataError, match="no clips in the split 'test'"):
        open_recordings(tmp_path, RATE, split="test")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"querysep\[data\]"):
        ClipStore(tmp_path)


def test_damage_is_reported_with_the_files_name(tmp_path: Path) -> None:
    pack(MadeUp(9), tmp_path, size=ShardSize(sound=1))
    shard, rows, state = (tmp_path / name for name in ("clips-00004.arrow", "_clips-00004.rows", "_clips.json"))
    for path in (shard, rows):
        content = path.read_bytes()
        for wrong in (content[:-100], b""):
            path.write_bytes(wrong)
            with pytest.raises(DataError, match=re.escape(f"{path.name}' cannot be read (")):
                ClipStore(tmp_path).read(4)
        path.write_bytes(content)
    content = rows.read_bytes()
    rows.write_bytes((tmp_path / "_clips-00003.rows").read_bytes())
    with pytest.raises(DataError, match=re.escape("_clips-00004.rows' cannot be read (it is of another run")):
        ClipStore(tmp_path)
    rows.write_bytes(content)
    content = shard.read_bytes()
    shard.write_bytes((tmp_path / "clips-00003.arrow").read_bytes())
    with pytest.raises(DataError, match=re.escape("clips-00004.arrow' cannot be read (it does not belong to the rows")):
        ClipStore(tmp_path).read(4)
    shard.unlink()
    with pytest.raises(DataError, match=re.escape("clips-00004.arrow' is missing")):
        ClipStore(tmp_path)
    shard.write_bytes(content)
    _assert_holds(ClipStore(tmp_path), MadeUp(9))
    whole = state.read_text()
    state.write_text(whole.replace('"format": 1', '"format": 2'))
    with pytest.raises(DataError, match="format 2"):
        ClipStore(tmp_path)
    for text in ("not JSON", '"a"', whole.replace("clips", "anchors")):
        state.write_text(text)
        with pytest.raises(DataError, match=re.escape("_clips.json' cannot be read (")):
            ClipStore(tmp_path)
    state.unlink()
    with pytest.raises(DataError, match="no store of clips"):
        ClipStore(tmp_path)
    with pytest.raises(DataError, match=re.escape("without '_clips.json'")):
        pack(MadeUp(9), tmp_path)
    assert shard.exists()


def test_a_lost_last_shard_is_packed_again(tmp_path: Path) -> None:
    pack(MadeUp(9), tmp_path, size=ShardSize(sound=1))
    (tmp_path / "clips-00008.arrow").unlink()
    assert not ClipStore(tmp_path).complete
    assert pack(MadeUp(9), tmp_path).added == 1
    _assert_holds(ClipStore(tmp_path), MadeUp(9))


def test_a_store_of_an_older_querysep_is_to_be_packed_again(tmp_path: Path) -> None:
    (tmp_path / "clips.lance").mkdir()
    assert is_store(tmp_path)
    with pytest.raises(DataError, match=r"older querysep.*querysep data pack"):
        open_recordings(tmp_path, RATE)
    with pytest.raises(DataError, match="older querysep"):
        ClipStore(tmp_path / "clips.lance")
    pack(MadeUp(3), tmp_path)
    _assert_holds(ClipStore(tmp_path), MadeUp(3))
