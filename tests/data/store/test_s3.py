"""The store on a real S3 server on this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from stores import RATE, MadeUp, stop_at

from querysep.anchors.catalog import Anchor, read_catalog
from querysep.anchors.catalog_writer import CatalogWriter
from querysep.cli.main import run
from querysep.data.formats.data_set import open_recordings
from querysep.data.store import ClipStore
from querysep.data.store.clips import KIND, clip_schema
from querysep.data.store.packing import ShardSize, pack
from querysep.data.store.places import Bucket
from querysep.data.store.shards import ShardWriter
from querysep.errors import ConfigError, DataError

SMALL = ShardSize(sound=8_000)


@pytest.fixture(scope="module")
def options() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    try:
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="key", aws_secret_access_key="secret"
        )
        client.create_bucket(Bucket="bucket")
        yield {
            "aws_access_key_id": "key",
            "aws_secret_access_key": "secret",
            "aws_endpoint": url,
            "aws_region": "us-east-1",
            "allow_http": "true",
        }
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("QUERYSEP_SHARD_CACHE", str(folder))
    return folder


def test_a_store_on_s3_holds_what_a_local_one_holds(options: dict[str, str]) -> None:
    place = "s3://bucket/some/store"
    with pytest.raises(KeyboardInterrupt):
        pack(MadeUp(12), place, options=options, size=SMALL, progress=stop_at(9))
    half = ClipStore(place, options=options)
    assert 0 < len(half.clips) < 9 and not half.complete
    packed = pack(MadeUp(12), place, options=options, size=SMALL)
    assert packed.added == 12 - len(half.clips)
    store = ClipStore(place, options=options)
    assert store.complete and list(store.clips) == MadeUp(12).clips
    for index in range(12):
        np.testing.assert_array_equal(store.read(index), MadeUp(12).read(index))
        np.testing.assert_array_equal(store.read(index, 100, 300), MadeUp(12).read(index, 100, 300))


def test_a_shard_is_fetched_once_when_its_sound_is_read(options: dict[str, str], cache: Path) -> None:
    pack(MadeUp(12), "s3://bucket/cached", options=options, size=SMALL)
    store = ClipStore("s3://bucket/cached", options=options)
    rows = set(cache.iterdir())
    assert {path.suffix for path in rows} == {".rows"}
    for _ in range(2):
        store.read(11)
    (shard,) = set(cache.iterdir()) - rows
    before = shard.stat().st_ino
    os.utime(shard, (0, 0))
    ClipStore("s3://bucket/cached", options=options).read(11)
    assert shard.stat().st_mtime > 0  # what was used last is removed last
    assert [path.stat().st_ino for path in set(cache.iterdir()) - rows] == [before]
    store.read(0)
    assert len(set(cache.iterdir()) - rows) == 2


def test_the_cache_is_bounded(options: dict[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(MadeUp(12), "s3://bucket/bounded", options=options, size=SMALL)
    monkeypatch.setenv("QUERYSEP_SHARD_CACHE_GB", "2e-5")
    store = ClipStore("s3://bucket/bounded", options=options)
    for index in (*range(12), *range(12)):
        np.testing.assert_array_equal(store.read(index), MadeUp(12).read(index))
    left = list(cache.iterdir())
    assert any(path.suffix == ".arrow" for path in left)
    assert sum(path.stat().st_size for path in left) < 20_000


def test_a_shard_that_was_replaced_is_fetched_anew(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = Bucket._list

    def in_one_second(bucket: Bucket) -> dict[str, tuple[int, int]]:
        return {name: (size, 0) for name, (size, _) in real(bucket).items()}

    monkeypatch.setattr(Bucket, "_list", in_one_second)
    for seed in (1, 2):
        recordings = MadeUp(3, seed=seed)
        client = Bucket("s3://bucket/replaced", options)
        for name in client.names():
            client.remove(name)
        pack(recordings, "s3://bucket/replaced", options=options)
        np.testing.assert_array_equal(ClipStore("s3://bucket/replaced", options=options).read(2), recordings.read(2))


def test_two_writers_are_noticed(options: dict[str, str]) -> None:
    with ShardWriter("s3://bucket/two", KIND, clip_schema(), {"sample_rate": RATE}, options) as writer:
        pack(MadeUp(4), "s3://bucket/two", options=options)
        with pytest.raises(DataError, match="Another process"):
            writer.finish()


def test_forked_workers_read_from_s3_after_their_parent_did(options: dict[str, str]) -> None:
    """In a process of its own: what forks here would be the server as well, and all that other tests have started."""
    pack(MadeUp(12), "s3://bucket/loader", options=options, size=SMALL)
    script = Path(__file__).parents[2] / "s3_loader.py"
    command = [sys.executable, str(script), "s3://bucket/loader", json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = [int(MadeUp(12).read(index, 0, 1)[0]) for index in range(12)]
    assert json.loads(done.stdout) == [expected] * 3


def test_a_forked_process_does_not_call_s3(options: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrow's client hangs there if a thread of the parent was in it: a fresh process reads."""
    pack(MadeUp(3), "s3://bucket/forked", options=options)
    monkeypatch.setattr("querysep.data.store.places._used_s3_in", [os.getppid()])  # as if this one had been forked
    monkeypatch.setattr(Bucket, "_s3", property(lambda self: pytest.fail("called in a forked process")))
    store = ClipStore("s3://bucket/forked", options=options)
    np.testing.assert_array_equal(store.read(2), MadeUp(3).read(2))
    with pytest.raises(DataError, match="no store of clips"):
        ClipStore("s3://bucket/nothing", options=options)
    with pytest.raises(DataError, match="cannot be read"):
        ClipStore("s3://bucket/forked", options={**options, "aws_endpoint": "http://127.0.0.1:9"})


def test_the_environment_gives_what_s3_needs(
    options: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, key in (("AWS_ENDPOINT_URL", "aws_endpoint"), ("AWS_ALLOW_HTTP", "allow_http")):
        monkeypatch.setenv(name, options[key])
    for key in ("aws_access_key_id", "aws_secret_access_key", "aws_region"):
        monkeypatch.setenv(key.upper(), options[key])
    pack(MadeUp(5), tmp_path)
    assert run(["data", "pack", str(tmp_path), "-o", "s3://bucket/cli", "--sample-rate", str(RATE), "--quiet"]) == 0
    assert "5 clips packed" in capsys.readouterr().out
    assert list(open_recordings("s3://bucket/cli", RATE).clips) == MadeUp(5).clips
    with pytest.raises(DataError, match="no store of clips"):
        open_recordings("s3://bucket/nothing", RATE)
    with pytest.raises(DataError, match="no store of clips"):
        open_recordings("s3://no-bucket/nothing", RATE)
    with pytest.raises(DataError, match="cannot be written"):
        pack(MadeUp(5), "s3://no-bucket/nothing")


def test_options_are_checked(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"'region' is no option.*aws_region"):
        ClipStore("s3://bucket/store", options={**options, "region": "us-east-1"})
    with pytest.raises(ConfigError, match="not encrypted"):
        ClipStore("s3://bucket/store", options={**options, "allow_http": "false"})


def test_a_catalog_on_s3(options: dict[str, str]) -> None:
    row = Anchor(label="Dog", labels=("Dog",), clip="a", origin="o", start_s=0, sounding=9, score=1, purity=1)
    audio, latents = np.arange(20, dtype=np.int16).reshape(2, 10), np.eye(2, 3, dtype=np.float32)

    def writer(detector: str) -> CatalogWriter:
        return CatalogWriter(
            "s3://bucket/mined",
            sample_rate=RATE,
            segment_time=10,
            latent_dim=3,
            detector=detector,
            settings={},
            options=options,
        )

    with writer("hash") as first:
        first.append([row, row], audio, latents, ["a"])
        first.finish()
    catalog = read_catalog("s3://bucket/mined", options=options)
    assert catalog.anchors == (row, row)
    np.testing.assert_array_equal(catalog.audio([1, 0, 1]), audio[[1, 0, 1]])
    np.testing.assert_array_equal(catalog.latents, latents)
    with writer("other") as second:
        second.finish()
    assert read_catalog("s3://bucket/mined", options=options).anchors == ()
    assert read_catalog("s3://bucket/mined/anchors-1", options=options).anchors == (row, row)
