"""The ``held-out`` protocol on AudioSet's layout and on a set of our own."""

import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from open_data import HELD_OUT, RATE, make_open_data, sound

from querysep.data.manifest import read_manifest, write_manifest
from querysep.data.ontology import audioset
from querysep.errors import DataError
from querysep.evaluation.metrics.signal import snr_db
from querysep.evaluation.protocols import held_out
from querysep.evaluation.protocols.held_out import OTHER, OWN, PAPER_CLASSES, HeldOutProtocol
from querysep.evaluation.protocols.protocol import Row
from querysep.types import Audio

HEAD = "# Segments csv created Sun Mar  5 10:54:25 2017\n# num_ytids=3\n# YTID, start_seconds, end_seconds, labels\n"


def _audioset_tree(folder: Path) -> Path:
    """Evaluation segments of two of the paper's classes and of another; training segments are not to be touched."""
    mids = {one.index: one.id for one in audioset()}
    names = {one.index: one.name for one in audioset()}
    rows = []
    for number in range(3):
        for index in (*PAPER_CLASSES[:2], 0):
            key = f"id{index:03d}_{number:05d}"[:11].ljust(11, "x")
            rows.append(f'{key}, 30.000, 33.000, "{mids[index]},{mids[0]}"')
            soundfile.write(folder / f"Y{key}.wav", sound(names[index], 3.0, number), RATE)
    (folder / "eval_segments.csv").write_text(HEAD + "\n".join(rows) + "\n")
    (folder / "balanced_train_segments.csv").write_text(HEAD + f'trainingxxx, 0.0, 3.0, "{mids[PAPER_CLASSES[2]]}"\n')
    soundfile.write(folder / "Ytrainingxxx.wav", sound("t", 3.0, 9), RATE)
    return folder


def _measure(protocol: HeldOutProtocol) -> list[Row]:
    return [row for task in protocol.tasks() for row in protocol.measure(task)]


def test_audiosets_layout(tmp_path: Path, tiny_model: Path) -> None:
    names = {one.index: one.name for one in audioset()}
    protocol = HeldOutProtocol(_audioset_tree(tmp_path), tiny_model, mixtures=3, device="cpu")
    rows = _measure(protocol)
    assert len(rows) == 12
    assert {row.label for row in rows} == {names[index] for index in PAPER_CLASSES[:2]}
    for row in rows:
        assert row.values.keys() == {"mixture_snr_db", "clean_snr_db", "silence_sdr_db"}
        assert row.facts["beside"] != row.label
        assert (row.group == OTHER) == ("example" in row.facts)
        if row.group == OTHER:
            assert row.facts["example"] != row.facts["clip"]
            assert row.facts["example"][:6] == row.facts["clip"][:6]  # of the same class
    table = {one.name: one for one in protocol.summarise(rows)}
    assert table[OWN].count == table[OTHER].count == 6
    own = [row.values["mixture_snr_db"] for row in rows if row.group == OWN]
    assert table[OWN].values["mixture_snr_db"] == pytest.approx(np.mean(own))
    assert f"{OWN}: {names[PAPER_CLASSES[0]]}" in table


def test_classes_that_a_set_marks(tmp_path: Path, tiny_model: Path) -> None:
    protocol = HeldOutProtocol(make_open_data(tmp_path), tiny_model, mixtures=2, device="cpu")
    chosen = protocol.settings()["classes"]
    assert isinstance(chosen, list | tuple) and set(chosen) == set(HELD_OUT)
    rows = _measure(protocol)
    assert [row.label for row in rows[::2]] == ["Goat", "Door", "Door", "Goat"]  # the classes take turns
    assert pickle.loads(pickle.dumps(protocol)).measure("pair/0001") == rows[4:]
    named = HeldOutProtocol(tmp_path, tiny_model, mixtures=1, device="cpu", classes=["Dog", "Rain"])
    assert {row.label for row in named.measure("pair/0000")} == {"Dog", "Rain"}
    assert named.data_hash != protocol.data_hash
    for row in rows:
        sounds = protocol.sounds(row)
        own = snr_db(sounds["target"].samples, sounds["estimate"].samples)
        assert own == pytest.approx(row.values["mixture_snr_db"], abs=1e-4)
    with pytest.raises(DataError, match="1 held-out class"):
        HeldOutProtocol(tmp_path, tiny_model, classes=["Dog", "Unicorn"])


def test_each_figure_is_of_its_own_sound(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that knows the answer: by its own query it gives the sound of the query, as loud as it is there."""
    protocol = HeldOutProtocol(make_open_data(tmp_path), tiny_model, mixtures=1, device="cpu")
    first, second = protocol._pair(0)
    np.testing.assert_allclose(np.square(first.wave).sum(), np.square(second.wave).sum(), rtol=1e-3)

    class Knowing:
        detector = SimpleNamespace(labels=())

        def separate_each(self, mixture: Audio, queries: list[object]) -> list[object]:
            wave = mixture.samples[0]
            there = {
                name: one.wave
                for name, one in (("first", first), ("second", second))
                if np.allclose(wave, one.wave) or np.allclose(wave, first.wave + second.wave)
            }
            silence = np.zeros_like(wave)
            order = ("first", "first", "second", "second")  # own and other query of each
            return [SimpleNamespace(target=Audio(there.get(name, silence)[None], RATE)) for name in order]

    monkeypatch.setattr(protocol, "_separator", Knowing())
    for row in protocol.measure("pair/0000"):
        assert row.values["mixture_snr_db"] == row.values["clean_snr_db"] == 120
        assert row.values["silence_sdr_db"] > 55


def test_the_segment_is_where_the_class_is_heard(tmp_path: Path, tiny_model: Path) -> None:
    folder = make_open_data(tmp_path)
    wave = np.concatenate((0.01 * sound("Goat", 3.0, 1), sound("Goat", 2.0, 2), 0.01 * sound("Goat", 3.0, 3)))
    soundfile.write(folder / "Goat/0.flac", wave, RATE)
    clips = [
        clip.model_copy(update={"duration_s": 8.0}) if clip.path == "Goat/0.flac" else clip
        for clip in read_manifest(folder / "manifest.jsonl")
    ]
    write_manifest(clips, folder / "manifest.jsonl")
    protocol = HeldOutProtocol(folder, tiny_model, device="cpu")
    goats = [index for index, clip in enumerate(protocol._open().clips) if clip.path == "Goat/0.flac"]
    segment = protocol._anchor("Goat", goats[0])
    assert len(segment) == 2 * RATE
    assert float(np.square(segment).sum()) > 0.99 * float(np.square(wave).sum())
    curve = np.zeros((1, 100), dtype=np.float32)
    curve[0, 75:100] = 1.0  # by the detector it is in the last 2 s
    heard = SimpleNamespace(framewise=curve, frame_s=0.08)
    detector = SimpleNamespace(labels=("Goat",), presence=lambda audio: heard)
    protocol._separator = SimpleNamespace(detector=detector)  # type: ignore[assignment]
    whole = protocol._open().read(goats[0]).astype(np.float32) / np.float32(32768.0)
    np.testing.assert_array_equal(protocol._anchor("Goat", goats[0]), whole[-2 * RATE :])


def test_the_papers_classes_are_audiosets() -> None:
    assert len(set(PAPER_CLASSES)) == 10
    assert held_out.PAPER_CLASSES == (15, 63, 81, 184, 335, 449, 474, 348, 486, 4)
