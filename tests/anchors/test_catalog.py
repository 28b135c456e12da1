import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest
from numpy.typing import NDArray

from querysep.anchors.catalog import Anchor, clip_key, read_catalog
from querysep.anchors.catalog_writer import CatalogWriter
from querysep.data.manifest import Clip
from querysep.data.store.places import Folder
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
    catalog = read_catalog(tmp_path)
    assert catalog.anchors == tuple(rows)
    assert (catalog.sample_rate, catalog.detector, catalog.segment_time) == (8000, "hash", TIME)
    assert catalog.plain == 3 and catalog.noisy is None
    np.testing.assert_array_equal(catalog.latents, latents)
    np.testing.assert_array_equal(catalog.audio([2, 0, 2]), audio[[2, 0, 2]])
    np.testing.assert_array_equal(catalog.audio(np.array([1])), audio[[1]])
    assert catalog.audio([]).shape == (0, TIME)
    np.testing.assert_array_equal(catalog.wave(1), audio[1, : TIME - 1] / np.float32(32768))


def test_a_catalog_is_pickled_as_an_address(tmp_path: Path) -> None:
    rows, (audio, latents) = [_anchor("a", number) for number in range(3)], _sounds(3)
    with _writer(tmp_path) as writer:
        writer.append(rows[:2], audio[:2], latents[:2], ["a"])
    parcel = pickle.dumps(read_catalog(tmp_path, unfinished=True))
    assert len(parcel) < 500
    with _writer(tmp_path) as writer:
        writer.append([_anchor("b", 2)], audio[2:], latents[2:], ["b"])
        writer.finish()
    catalog = pickle.loads(parcel)
    assert catalog.anchors == tuple(rows[:2])  # those that were there
    for method in ("fork", "forkserver", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            np.testing.assert_array_equal(pool.apply(catalog.audio, ([1, 0],)), audio[[1, 0]])


def test_arrows_own_tools_open_the_shards(tmp_path: Path) -> None:
    """The table of docs/store.md; a clip without anchors has its key alone, and no sound."""
    audio, latents = _sounds(2)
    with _writer(tmp_path) as writer:
        writer.append([_anchor("a", 0), _anchor("a", 1)], audio, latents, ["a", "b"])
    table = pa.dataset.dataset(tmp_path, format="ipc").to_table()
    assert {field.name: str(field.type) for field in table.schema} == {
        "label": "string",
        "labels": "list<item: string>",
        "heard": "list<item: string>",
        "clip": "string",
        "origin": "string",
        "split": "string",
        "start_s": "double",
        "sounding": "int64",
        "score": "double",
        "purity": "double",
        "latent": f"fixed_size_list<item: float>[{DIM}]",
        "audio": "list<item: int16>",
    }
    assert table["clip"].to_pylist() == ["a", "a", "b"]
    assert table["audio"].to_pylist() == [*audio.tolist(), None]
    assert table["latent"].to_pylist() == [*latents.tolist(), None]


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
    assert not (tmp_path / "anchors-2").exists()  # only a finished one is kept
    aside = read_catalog(tmp_path / "anchors-1")
    assert aside.detector == "hash" and aside.anchors == (_anchor("a", 0),)
    np.testing.assert_array_equal(aside.audio([0]), audio)
    with _writer(tmp_path) as writer:
        assert writer.put_aside is not None
    assert read_catalog(tmp_path / "anchors-2").anchors == ()


def test_a_catalog_with_other_columns_is_put_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio, latents = _sounds(1)
    fields = {name: field for name, field in Anchor.model_fields.items() if name != "heard"}
    with monkeypatch.context() as patch:
        patch.setattr("querysep.anchors.catalog_writer.Anchor.model_fields", fields)
        with _writer(tmp_path) as writer:
            writer.append([_anchor("a", 0)], audio, latents, ["a"])
            writer.finish()
    assert read_catalog(tmp_path).anchors == (_anchor("a", 0).model_copy(update={"heard": ()}),)
    with _writer(tmp_path) as writer:
        assert writer.put_aside is not None and writer.done == set()


def test_putting_aside_that_was_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio, latents = _sounds(3)
    with _writer(tmp_path) as writer:
        for number, key in enumerate("abc"):
            place = slice(number, number + 1)
            writer.append([_anchor(key, number)], audio[place], latents[place], [key])
        writer.finish()
    moved: list[str] = []

    def move(place: Folder, name: str, folder: str) -> None:
        if len(moved) == 3:  # the last shard and its rows, and the shard before it
            raise KeyboardInterrupt
        moved.append(name)
        real(place, name, folder)

    real = Folder.move
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "move", move)
        with pytest.raises(KeyboardInterrupt):
            _writer(tmp_path, "other")
    assert len(read_catalog(tmp_path, unfinished=True).anchors) == 1  # the beginning of an unfinished one
    with _writer(tmp_path, "other") as writer:
        assert writer.put_aside is not None and writer.done == set()


def test_a_catalog_of_an_older_querysep_is_to_be_mined_again(tmp_path: Path) -> None:
    (tmp_path / "anchors.lance").mkdir()
    with pytest.raises(DataError, match=r"older querysep.*querysep mine"):
        read_catalog(tmp_path)


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
