"""Mining on a real Ray cluster of two processes: the same as here, also when a worker is killed."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from held_recordings import HeldRecordings
from synthetic_set import make_set

from querysep.anchors.catalog import Catalog, read_catalog
from querysep.anchors.choice import MiningSettings
from querysep.anchors.embedding import embed_clips
from querysep.anchors.mine import Engine, mine, mine_here
from querysep.anchors.miner import Mined, Miner
from querysep.anchors.relations import Relations
from querysep.data.formats.data_set import open_recordings
from querysep.data.recordings import Recordings
from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.detection.windows import embed
from querysep.distributed.mining import ray_embedding, ray_engine

pytest.importorskip("ray")

CONFIG = HtsatConfig(
    n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, patch_size=4, classes=4
)
LABELS = ("Low tone", "High tone", "Clicks", "Sound")

pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own: there are many, and they change


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Recordings:
    folder = tmp_path_factory.mktemp("set")
    make_set(folder)
    return open_recordings(folder, CONFIG.sample_rate).recordings


def _mine(recordings: Recordings, folder: Path, engine: Engine) -> Catalog:
    torch.manual_seed(0)
    relations = Relations(clip.labels for clip in recordings.clips)
    report = mine(recordings, Miner(Htsat(CONFIG), LABELS, relations, MiningSettings()), "d", folder, engine=engine)
    assert report.mined == 18 and not report.unreadable
    return read_catalog(folder)


def _assert_same(one: Catalog, other: Catalog) -> None:
    assert len(one.anchors) == len(other.anchors) > 0
    for first, second in zip(one.anchors, other.anchors, strict=True):
        assert first.model_dump(exclude={"score", "purity"}) == second.model_dump(exclude={"score", "purity"})
        assert first.score == pytest.approx(second.score, abs=1e-6)
        assert first.purity == pytest.approx(second.purity, abs=1e-6)
    everything = range(len(one.anchors))
    np.testing.assert_array_equal(one.audio(everything), other.audio(everything))
    np.testing.assert_allclose(one.latents, other.latents, atol=1e-5)


def test_a_killed_worker_loses_nothing(
    cluster: None, recordings: Recordings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows are those of this process though one worker is killed while it reads."""
    monkeypatch.setattr("querysep.anchors.mine._BATCH_CLIPS", 1)
    here = _mine(recordings, tmp_path / "here", mine_here)
    held = HeldRecordings(recordings, tmp_path / "notes")

    with ray_engine(workers=2) as engine:

        def engine_with_a_death(
            miner: Miner, recordings: Recordings, batches: Sequence[Sequence[int]]
        ) -> Iterator[Mined]:
            killer = threading.Thread(target=lambda: os.kill(held.wait(), signal.SIGKILL), daemon=True)
            killer.start()
            yield from engine(miner, held, batches)
            killer.join()

        there = _mine(recordings, tmp_path / "there", engine_with_a_death)
    first, *others = held.readers()
    assert others and first not in others  # somebody read it again
    _assert_same(here, there)


def test_clips_are_embedded_as_here(cluster: None, recordings: Recordings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("querysep.anchors.embedding._BATCH", 10)
    torch.manual_seed(0)
    network = Htsat(CONFIG).eval()
    here = embed_clips(recordings, network)
    for index in range(3):
        wave = torch.from_numpy(recordings.read(index)[None].astype(np.float32) / 32768)
        np.testing.assert_allclose(here[index], embed(network, wave)[0], atol=1e-5)
    with ray_embedding(workers=1) as engine:
        np.testing.assert_allclose(embed_clips(recordings, network, engine=engine), here, atol=1e-6)
