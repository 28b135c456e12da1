"""The store on a real S3 server on this machine."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import boto3
import numpy as np
import pytest
import torch
from moto.server import ThreadedMotoServer
from stores import RATE, MadeUp, rows_of, stop_at

from querysep.anchors.catalog import Anchor, read_catalog
from querysep.anchors.catalog_writer import CatalogWriter
from querysep.cli.main import run
from querysep.data.opening import open_recordings
from querysep.data.store import ClipStore
from querysep.data.store_packing import Commits, pack
from querysep.errors import DataError
from querysep.io.bank_file import KeptSound
from querysep.queries.bank_tables import BankTables
from querysep.queries.condition import Example

SMALL = Commits(size=8_000)


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


def test_a_store_on_s3_holds_what_a_local_one_holds(options: dict[str, str], tmp_path: Path) -> None:
    place = "s3://bucket/some/store"
    with pytest.raises(KeyboardInterrupt):
        pack(MadeUp(12), place, options=options, commits=SMALL, progress=stop_at(9))
    half = ClipStore(place, options=options)
    assert 0 < len(half.clips) < 9 and not half.complete
    packed = pack(MadeUp(12), place, options=options, commits=SMALL)
    assert packed.added == 12 - len(half.clips)
    assert rows_of(packed.uri, options) == rows_of(pack(MadeUp(12), tmp_path).uri)
    store = ClipStore(place, options=options)
    assert store.complete and not store.sound.direct
    for index in range(12):
        np.testing.assert_array_equal(store.read(index), MadeUp(12).read(index))
        np.testing.assert_array_equal(store.read(index, 100, 300), MadeUp(12).read(index, 100, 300))


def test_workers_read_from_s3_after_their_parent_did(options: dict[str, str]) -> None:
    """In a process of its own: what forks here would be the server as well, and all that other tests have started."""
    pack(MadeUp(12), "s3://bucket/loader", options=options)
    script = Path(__file__).parents[1] / "s3_loader.py"
    command = [sys.executable, str(script), "s3://bucket/loader", json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    alone, together = json.loads(done.stdout)
    assert alone == together == [int(MadeUp(12).read(index, 0, 1)[0]) for index in range(12)]


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
    with pytest.raises(DataError, match=r"cannot be read .* 404"):
        open_recordings("s3://no-bucket/nothing", RATE)


def test_a_catalog_on_s3(options: dict[str, str]) -> None:
    row = Anchor(label="Dog", labels=("Dog",), clip="a", origin="o", start_s=0, sounding=9, score=1, purity=1)
    audio, latents = np.arange(20, dtype=np.int16).reshape(2, 10), np.eye(2, 3, dtype=np.float32)
    with CatalogWriter(
        "s3://bucket/mined",
        sample_rate=RATE,
        segment_time=10,
        latent_dim=3,
        detector="hash",
        settings={},
        options=options,
    ) as writer:
        writer.append([row, row], audio, latents, ["a"])
        writer.finish()
    for in_memory in (0, 1000):
        catalog = read_catalog("s3://bucket/mined", options=options, in_memory=in_memory)
        assert catalog.anchors == (row, row)
        np.testing.assert_array_equal(catalog.audio([1, 0, 1]), audio[[1, 0, 1]])
        np.testing.assert_array_equal(catalog.latents, latents)


def test_a_bank_on_s3(options: dict[str, str]) -> None:
    sound = KeptSound("dog", "a.wav", "2026-01-01T00:00:00Z", RATE, 0.5, np.arange(9, dtype=np.int16))
    tables = BankTables("s3://bucket/bank", options)
    assert tables.facts() == []
    tables.append([sound])
    tables.append([replace(sound, name="cat")])
    tables.append([sound])  # as two processes may do at the same moment
    assert [(one.name, one.key) for one in tables.facts()] == [("cat", sound.key), ("dog", sound.key)]
    (kept,) = tables.sounds(["dog"])
    assert kept.key == sound.key
    tables.keep_embeddings("abc", {sound.key: Example("", 1.0, torch.tensor([3.0, 4.0]), torch.tensor([0.5]))})
    ((key, likeness),) = tables.nearest("abc", np.array([4, 3], np.float32), 5)
    assert key == sound.key and likeness == pytest.approx(24 / 25)
    tables.remove(["dog"])
    assert [one.name for one in BankTables("s3://bucket/bank", options).facts()] == ["cat"]
