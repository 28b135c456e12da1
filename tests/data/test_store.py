import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import RATE, MadeUp, rows_of, stop_at
from torch.utils.data import DataLoader, Dataset

from querysep.data.formats import DataFormat
from querysep.data.formats.data_set import open_recordings
from querysep.data.manifest import Clip
from querysep.data.store import PROBLEM, SOUND, ClipStore, clip_schema
from querysep.data.store_apart import Column, ReaderApart
from querysep.data.store_packing import Commits, pack
from querysep.data.store_writer import TableWriter
from querysep.errors import ConfigError, DataError, OutputError

SMALL = Commits(size=8_000, batch=3_000)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ClipStore:
    folder = tmp_path_factory.mktemp("store")
    pack(MadeUp(20), folder, commits=SMALL)
    return ClipStore(folder)


def _assert_holds(store: ClipStore, made_up: MadeUp) -> None:
    assert list(store.clips) == made_up.clips
    for index in range(made_up.count):
        np.testing.assert_array_equal(store.read(index), made_up.read(index))


def test_the_schema_is_the_manifests_row_and_its_sound() -> None:
    assert clip_schema().names == [*Clip.model_fields, PROBLEM, SOUND]


def test_a_store_gives_back_rows_and_sound(store: ClipStore) -> None:
    assert store.sample_rate == RATE
    assert store.complete
    assert store.sound.direct
    assert len(store.sound._folders) > 3  # several commits
    _assert_holds(store, MadeUp(20))


@given(index=st.integers(0, 19), start=st.integers(0, 4000), count=st.none() | st.integers(0, 4000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("direct", [True, False])
def test_any_part_of_a_clip_is_read(store: ClipStore, direct: bool, index: int, start: int, count: int | None) -> None:
    store.sound.direct, before = direct, store.sound.direct
    try:
        part = store.read(index, start, count)
    finally:
        store.sound.direct = before
    np.testing.assert_array_equal(part, MadeUp(20).read(index, start, count))


def test_files_that_are_not_laid_out_as_expected_are_read_by_lance(
    store: ClipStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("querysep.data.store_sound.SoundReader._path", lambda self, row: __file__)
    other = ClipStore(store.uri)
    assert not other.sound.direct
    _assert_holds(other, MadeUp(20))


def test_one_split_is_taken(store: ClipStore) -> None:
    part = ClipStore(store.uri, split="validation")
    whole = MadeUp(20)
    indices = [index for index, clip in enumerate(whole.clips) if clip.split == "validation"]
    assert list(part.clips) == [whole.clips[index] for index in indices]
    np.testing.assert_array_equal(part.read(2), whole.read(indices[2]))


def test_packing_goes_on_where_it_stopped(tmp_path: Path, store: ClipStore) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(MadeUp(20), tmp_path, commits=SMALL, progress=stop_at(13))
    half = ClipStore(tmp_path)
    assert not half.complete
    assert 0 < len(half.clips) < 13
    _assert_holds(half, MadeUp(len(half.clips)))
    assert any("unfinished" in warning for warning in open_recordings(tmp_path, RATE).warnings)
    packed = pack(MadeUp(20), tmp_path, commits=SMALL)
    assert packed.added == 20 - len(half.clips)
    assert rows_of(packed.uri) == rows_of(store.uri)
    assert ClipStore(tmp_path).complete
    assert open_recordings(tmp_path, RATE).warnings == ()
    assert pack(MadeUp(20), tmp_path).added == 0


def test_a_grown_data_set_is_packed_on(tmp_path: Path) -> None:
    pack(MadeUp(5), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pack(MadeUp(9), tmp_path, commits=Commits(size=1), progress=stop_at(8))
    assert not ClipStore(tmp_path).complete
    assert pack(MadeUp(9), tmp_path).added == 2
    _assert_holds(ClipStore(tmp_path), MadeUp(9))


def test_what_a_dead_writer_left_is_taken_away(tmp_path: Path) -> None:
    uri = Path(pack(MadeUp(5), tmp_path).uri)
    litter = uri / "data" / "half.lance"
    litter.write_bytes(b"half")
    pack(MadeUp(6), tmp_path)
    assert not litter.exists()
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


def test_a_clip_that_cannot_be_read_is_told_of(tmp_path: Path) -> None:
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


def test_a_bug_in_the_recordings_comes_out_as_itself(tmp_path: Path) -> None:
    class Floats(MadeUp):
        def read(self, index: int, start: int = 0, count: int | None = None) -> Any:
            return np.zeros(10)

    with pytest.raises(TypeError, match="float64"):
        pack(Floats(3), tmp_path)


def test_only_one_process_packs(tmp_path: Path) -> None:
    pack(MadeUp(2), tmp_path)
    with (
        TableWriter(str(tmp_path / "clips.lance"), "clips", clip_schema(), {"sample_rate": RATE}),
        pytest.raises(DataError, match="Another process"),
    ):
        pack(MadeUp(4), tmp_path)
    assert pack(MadeUp(4), tmp_path).added == 2


def test_two_writers_without_a_lock_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("querysep.data.store_writer._lock", lambda uri: None)  # as on an object store
    uri = str(tmp_path / "clips.lance")
    with TableWriter(uri, "clips", clip_schema(), {"sample_rate": RATE}) as writer:
        pack(MadeUp(4), tmp_path)
        before = sorted(Path(uri).rglob("*.manifest"))
        with pytest.raises(DataError, match="Another process"):
            writer.append([])
        assert sorted(Path(uri).rglob("*.manifest")) == before
    _assert_holds(ClipStore(tmp_path), MadeUp(4))


class _Sounds(Dataset[torch.Tensor]):
    def __init__(self, store: ClipStore) -> None:
        self._store = store

    def __len__(self) -> int:
        return len(self._store.clips)

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, *np.resize(self._store.read(index), 50)])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
@pytest.mark.parametrize("direct", [True, False])
def test_a_data_loader_with_two_workers_reads_what_one_process_reads(store: ClipStore, direct: bool) -> None:
    sounds = _Sounds(ClipStore(store.uri))
    sounds._store.sound.direct = direct
    alone = [sounds[index] for index in range(len(sounds))]  # Lance was used before the workers start
    with_workers = [row for batch in DataLoader(sounds, batch_size=3, num_workers=2, timeout=30) for row in batch]
    assert all(torch.equal(one, other) for one, other in zip(alone, with_workers, strict=True))


def test_a_store_goes_to_a_process_that_starts_afresh(store: ClipStore, tmp_path: Path) -> None:
    parcel = tmp_path / "parcel"
    parcel.write_bytes(pickle.dumps(store))
    assert parcel.stat().st_size < 500
    code = "import pickle, sys; s = pickle.load(open(sys.argv[1], 'rb')); print(len(s.clips), s.read(3)[:2].tolist())"
    done = subprocess.run(
        [sys.executable, "-c", code, str(parcel)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == f"20 {MadeUp(20).read(3)[:2].tolist()}"


class _OnlyHere:
    """A table that tells when it is read by another process than the one that opened it."""

    def __init__(self, dataset: Any, read_in: Path) -> None:
        self._dataset, self._read_in = dataset, read_in

    def read_blob_ranges(self, *args: Any, **kwargs: Any) -> Any:
        self._read_in.write_text(str(os.getpid()))
        return self._dataset.read_blob_ranges(*args, **kwargs)


def test_a_forked_process_does_not_call_lance(
    store: ClipStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It crashes there now and then: a fresh process reads for it, and ends with it."""
    reader = ClipStore(store.uri).sound
    reader.direct = False
    reader._dataset = _OnlyHere(reader._dataset, tmp_path / "read in")
    monkeypatch.setattr("querysep.data.store_apart.open_table", lambda *_: pytest.fail("opened in a forked process"))
    child = os.fork()
    if child == 0:
        try:
            rows = [reader.read(3), reader.read(4, 5, 6)]
            np.savez(tmp_path / "rows.npz", *rows)
            reader._apart = None  # ends the process
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    with np.load(tmp_path / "rows.npz") as rows:
        np.testing.assert_array_equal(rows["arr_0"], MadeUp(20).read(3))
        np.testing.assert_array_equal(rows["arr_1"], MadeUp(20).read(4, 5, 6))
    assert not (tmp_path / "read in").exists()
    np.testing.assert_array_equal(reader.read(3), MadeUp(20).read(3))
    assert (tmp_path / "read in").read_text() == str(os.getpid())


def test_a_fresh_process_that_reads_tells_what_is_wrong(store: ClipStore, tmp_path: Path) -> None:
    apart = ReaderApart(Column(str(tmp_path / "none.lance"), "sound", None, 1))
    with pytest.raises(DataError, match="no table"):
        apart.read([(0, 0, 4)])
    apart = ReaderApart(Column(store.uri, SOUND, None, ClipStore(store.uri)._again[3]))
    assert apart.read([]) == []
    apart._process.kill()
    with pytest.raises(DataError, match="ended with code -9"):
        apart.read([(0, 0, 4)])


def test_a_reader_sees_the_rows_that_were_there_when_it_opened(tmp_path: Path) -> None:
    pack(MadeUp(3), tmp_path)
    old = ClipStore(tmp_path)
    pack(MadeUp(6), tmp_path)
    _assert_holds(old, MadeUp(3))


def test_what_is_wrong_with_a_store_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no store of clips"):
        ClipStore(tmp_path)
    with pytest.raises(DataError, match="no store of clips"):
        open_recordings(tmp_path, RATE, data_format=DataFormat.STORE)
    file = tmp_path / "file"
    file.write_text("in the way")
    with pytest.raises(OutputError, match="cannot be made"):
        pack(MadeUp(2), file)
    uri = Path(pack(MadeUp(2), tmp_path).uri)
    with pytest.raises(DataError, match="8000 Hz, and 16000 Hz"):
        open_recordings(tmp_path, 2 * RATE)
    with pytest.raises(DataError, match="no clips in the split 'test'"):
        open_recordings(tmp_path, RATE, split="test")
    whole = ClipStore(tmp_path)
    for sounds in uri.glob("data/*/*.blob"):
        sounds.write_bytes(sounds.read_bytes()[:100])
    with pytest.raises(DataError, match="cut off"):
        whole.read(1)
    for manifest in uri.glob("_versions/*.manifest"):
        manifest.write_bytes(b"not a manifest")
    with pytest.raises(DataError, match="cannot be read"):
        ClipStore(tmp_path)
    monkeypatch.setitem(sys.modules, "lance", None)
    with pytest.raises(ConfigError, match=r"querysep\[data\]"):
        ClipStore(tmp_path)
