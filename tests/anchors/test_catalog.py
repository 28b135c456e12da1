import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from querysep.anchors.catalog import Anchor, clip_key, read_catalog
from querysep.anchors.catalog_writer import CatalogWriter
from querysep.data.manifest import Clip
from querysep.errors import DataError

TIME, DIM = 400, 6


def _anchor(clip: str, number: int) -> Anchor:
    return Anchor(
        label="Bärk" if number % 2 else "Dog",
        labels=("Dog", "Animal"),
        heard=("Dog",) if number % 3 else (),
        clip=clip,
        origin=f"origin of {clip}",
        split="validation" if number == 2 else "train",
        start_s=number / 7,
        sounding=TIME - number,
        score=1 / (number + 1),
        purity=number / 10,
    )


def _sounds(count: int, seed: int = 0) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return rng.integers(-32768, 32768, (count, TIME), np.int16), rng.standard_normal((count, DIM)).astype(np.float32)


def _writer(location: Path, detector: str = "hash", segment_s: float = 2.0) -> CatalogWriter:
    return CatalogWriter(
        location,
        sample_rate=8000,
        segment_time=TIME,
        latent_dim=DIM,
        detector=detector,
        settings={"segment_s": segment_s, "choice": "published"},
    )


def test_a_catalog_gives_back_what_was_put_in(tmp_path: Path) -> None:
    rows = [_anchor("a", 0), _anchor("a", 1), _anchor("c", 2)]
    audio, latents = _sounds(3)
    with _writer(tmp_path) as writer:
        writer.append(rows[:2], audio[:2], latents[:2], ["a", "b"])
        writer.append(rows[2:], audio[2:], latents[2:], ["c"])
        assert writer.done == {"a", "b", "c"}
        writer.finish()
    for in_memory in (0, 1 << 20):
        catalog = read_catalog(tmp_path, in_memory=in_memory)
        assert catalog.anchors == tuple(rows)
        assert (catalog.sample_rate, catalog.detector, catalog.segment_time) == (8000, "hash", TIME)
        np.testing.assert_array_equal(catalog.latents, latents)
        for read in (catalog, pickle.loads(pickle.dumps(catalog))):
            np.testing.assert_array_equal(read.audio([2, 0, 2]), audio[[2, 0, 2]])
            assert read.audio([]).shape == (0, TIME)


def test_mining_goes_on_where_it_stopped(tmp_path: Path) -> None:
    audio, latents = _sounds(2)
    with _writer(tmp_path) as writer:
        writer.append([_anchor("a", 0)], audio[:1], latents[:1], ["a", "b"])
    with pytest.raises(DataError, match="no finished anchor catalog"):
        read_catalog(tmp_path)
    assert len(read_catalog(tmp_path, unfinished=True).anchors) == 1
    with _writer(tmp_path) as writer:
        assert writer.done == {"a", "b"}
        assert writer.put_aside is None and not writer.complete
        with pytest.raises(DataError, match="'b' was mined before"):
            writer.append([], audio[:0], latents[:0], ["c", "b"])
        writer.append([_anchor("c", 1)], audio[1:], latents[1:], ["c"])
        writer.finish()
        assert writer.complete
    np.testing.assert_array_equal(read_catalog(tmp_path).audio([1]), audio[1:])
    with _writer(tmp_path) as writer:
        assert writer.complete


def test_a_catalog_may_be_empty(tmp_path: Path) -> None:
    with _writer(tmp_path) as writer:
        writer.append([], *_sounds(0), ["a"])
        writer.finish()
    catalog = read_catalog(tmp_path)
    assert catalog.anchors == () and catalog.latents.shape == (0, DIM) and catalog.audio([]).shape == (0, TIME)


def test_anchors_of_other_detectors_or_settings_are_never_mixed(tmp_path: Path) -> None:
    audio, latents = _sounds(1)
    with _writer(tmp_path) as writer:
        writer.append([_anchor("a", 0)], audio, latents, ["a"])
        writer.finish()
    for detector, segment_s in (("other", 2.0), ("other", 1.0)):
        with _writer(tmp_path, detector, segment_s) as writer:
            assert writer.put_aside is not None
            assert writer.done == set() and not writer.complete
    with pytest.raises(DataError, match="no finished"):
        read_catalog(tmp_path)
    with _writer(tmp_path, "other", 1.0) as writer:
        assert writer.put_aside is None
        writer.finish()
    assert read_catalog(tmp_path).anchors == ()
    import lance

    tags = lance.dataset(str(tmp_path / "anchors.lance")).tags.list()
    (version,) = (tag["version"] for tag in tags.values())  # of the finished one alone
    assert lance.dataset(str(tmp_path / "anchors.lance"), version=version).count_rows() == 1


def test_only_one_process_mines(tmp_path: Path) -> None:
    with _writer(tmp_path), pytest.raises(DataError, match="Another process"):
        _writer(tmp_path)
    _writer(tmp_path).close()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    audio, latents = _sounds(1)
    with _writer(tmp_path) as writer:
        with pytest.raises(DataError, match="'a' is not among the keys"):
            writer.append([_anchor("a", 0)], audio, latents, ["b"])
        with pytest.raises(DataError, match="came with sound"):
            writer.append([_anchor("a", 0)], audio[:, :-1], latents, ["a"])
    with pytest.raises(DataError, match="Run `querysep mine`"):
        read_catalog(tmp_path / "elsewhere")


def test_the_key_of_a_clip_names_its_place_in_a_file() -> None:
    clip = Clip(path="a.h5", labels=("Dog",), duration_s=1, licence="", source="", origin="", split="train")
    assert clip_key(clip) == "a.h5"
    assert clip_key(clip.model_copy(update={"row": 0})) == "a.h5#0"
    assert clip_key(clip.model_copy(update={"start_s": 12.5})) == "a.h5@12.5"
    close = [clip_key(clip.model_copy(update={"start_s": start})) for start in (1000000.25, 1000000.5)]
    assert close[0] != close[1]
