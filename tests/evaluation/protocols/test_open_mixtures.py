"""What the ``open`` protocol mixes: equal energies, examples of other recordings, the same item for one seed."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from open_data import EVERYDAY, HELD_OUT, LABELS, make_open_data

from querysep.data.manifest import Split
from querysep.errors import DataError
from querysep.evaluation.protocols.open_mixtures import ORDER, SAMPLE_RATE, Kind, OpenMixtures
from querysep.types import FloatArray


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_open_data(tmp_path_factory.mktemp("open"))


@pytest.fixture(scope="module", autouse=True)
def _short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("querysep.evaluation.protocols.open_mixtures.LONGEST_S", 4.0)
        yield


@pytest.fixture(scope="module")
def mixtures(folder: Path) -> OpenMixtures:
    return OpenMixtures(folder)


def _energy(wave: np.ndarray) -> float:
    return float(np.square(wave, dtype=np.float64).sum())


@pytest.mark.parametrize("kind", ["seen", "held-out", "three sources", "speech over music", "clean"])
def test_stems_have_equal_energy_and_examples_of_other_recordings(mixtures: OpenMixtures, kind: Kind) -> None:
    for index in range(8):
        mixture = mixtures.draw(kind, index)
        stems = mixture.stems
        assert 2 * SAMPLE_RATE <= len(mixture.wave) <= 4 * SAMPLE_RATE
        np.testing.assert_allclose(sum(stem.wave for stem in stems), mixture.wave, atol=1e-6)
        assert np.abs(mixture.wave).max() <= 0.9 + 1e-6
        assert len({stem.label for stem in stems}) == len(stems)
        for stem in stems:
            assert _energy(stem.wave) == pytest.approx(_energy(stems[0].wave), rel=1e-3)
            first = mixtures.clips[stem.examples[0]]
            own = next(clip for clip in mixtures.clips if clip.path == stem.clip)
            assert first.labels == own.labels and first.origin != own.origin
            assert all(mixtures.clips[one].path != stem.clip for one in stem.examples)
            assert len(stem.examples) == 3


def test_kinds_take_the_classes_that_they_name(mixtures: OpenMixtures) -> None:
    assert mixtures.kinds == ORDER[2:]  # there is nothing of strangers, so no scenes either
    for index in range(8):
        labels = {kind: [stem.label for stem in mixtures.draw(kind, index).stems] for kind in mixtures.kinds}
        assert labels["noise"] == []
        assert set(labels["seen"] + labels["three sources"] + labels["clean"]) <= set(LABELS)
        assert labels["held-out"][0] in HELD_OUT and labels["held-out"][1] in LABELS
        assert labels["speech over music"] == ["Speech", "Music"]
        assert labels["stems"] == ["Flute", "Violin"]
        absent = mixtures.draw("seen", index).absent
        assert absent is not None and mixtures.clips[absent].labels[0] not in labels["seen"]


def test_an_item_is_the_same_for_one_seed(folder: Path, mixtures: OpenMixtures) -> None:
    again, other = OpenMixtures(folder), OpenMixtures(folder, seed=1)
    for kind in mixtures.kinds:
        np.testing.assert_array_equal(mixtures.draw(kind, 5).wave, again.draw(kind, 5).wave)
    assert len(mixtures.draw("seen", 5).wave) != len(other.draw("seen", 5).wave)
    assert mixtures.data_hash == again.data_hash == other.data_hash


def test_a_short_sound_is_heard_together_with_the_other(mixtures: OpenMixtures) -> None:
    checked = 0
    for index in range(30):
        first, second = mixtures.draw("seen", index).stems
        if second.label == "Dog":  # 0.4 s among silence
            heard = np.flatnonzero(second.wave)
            assert heard[-1] - heard[0] <= 0.4 * SAMPLE_RATE
            assert _energy(first.wave[heard[0] : heard[-1]]) > 0
            checked += 1
    assert checked >= 3


def test_what_stands_before_the_mixture_is_the_recordings_own_sound(mixtures: OpenMixtures) -> None:
    from_before = 0
    for index in range(8):
        music = mixtures.draw("speech over music", index).stems[1]
        assert 0 < len(music.lead) <= 2 * SAMPLE_RATE
        own = next(number for number, clip in enumerate(mixtures.clips) if clip.path == music.clip)
        whole = mixtures.read(own)
        start = _find(whole, music.lead)
        assert start is not None
        follows = _find(whole, music.wave) == start + len(music.lead)
        assert follows or _find(music.wave, music.lead) is not None
        from_before += follows
    assert 0 < from_before < 8


def _find(whole: np.ndarray, wave: np.ndarray) -> int | None:
    """Where a stretch comes from, whatever its gain."""
    head = wave[:400].astype(np.float64)
    sums = np.cumsum(np.concatenate(([0.0], np.square(whole, dtype=np.float64))))
    likeness = np.correlate(whole.astype(np.float64), head, mode="valid")
    likeness /= np.sqrt((sums[400:] - sums[:-400]) * np.square(head).sum()) + 1e-12
    place = int(likeness.argmax())
    return place if likeness[place] > 0.9999 else None


def test_queries_for_music_are_other_pieces_of_the_test_side(mixtures: OpenMixtures) -> None:
    for index in range(4):
        for stem in mixtures.draw("stems", index).stems:
            assert stem.clip.startswith(f"music/test/piece-{index % 2}/")
            (example,) = stem.examples
            assert mixtures.clips[example].path == f"music/test/piece-{1 - index % 2}/{stem.label}.flac"


def test_a_set_without_music_has_no_stems(tmp_path: Path) -> None:
    bare = OpenMixtures(make_open_data(tmp_path, recordings=2, stems=False))
    assert "stems" not in bare.kinds and "held-out" in bare.kinds
    (tmp_path / "Rain" / "0.flac").unlink()
    assert "Rain" not in OpenMixtures(tmp_path).seen
    for label in LABELS[1:]:
        (tmp_path / label / "1.flac").unlink()
    with pytest.raises(DataError, match="too few test classes"):
        OpenMixtures(tmp_path)


@pytest.fixture(scope="module")
def with_everyday(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_open_data(tmp_path_factory.mktemp("everyday"), stems=False, everyday=True)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_everyday_mixtures_are_whole_recordings_of_strangers(with_everyday: Path, split: Split) -> None:
    mixtures = OpenMixtures(with_everyday, split=split)
    assert mixtures.kinds[0] == "everyday"
    by_path = {clip.path: clip for clip in mixtures.clips}
    labels, lengths = set(), set()
    for index in range(16):
        mixture = mixtures.draw("everyday", index)
        assert len(mixture.wave) == 5 * SAMPLE_RATE
        first, second = mixture.stems
        assert _energy(first.wave) == pytest.approx(_energy(second.wave), rel=1e-3)
        for stem in mixture.stems:
            clip = by_path[stem.clip]
            assert clip.source == "repository:some/sounds" and clip.split == split and stem.group == "everyday"
            assert {mixtures.clips[one].origin for one in stem.examples}.isdisjoint({clip.origin})
            assert {mixtures.clips[one].labels[0] for one in stem.examples} == {stem.label}
            labels.add(stem.label)
            lengths.add(clip.duration_s)
            sounding = len(stem.wave) if clip.duration_s > 5 else np.ptp(np.flatnonzero(stem.wave)) + 1
            assert sounding == pytest.approx(min(clip.duration_s, 5.0) * SAMPLE_RATE, abs=3)
        assert mixture.absent is not None and mixtures.clips[mixture.absent].source.startswith("repository:")
    assert labels == {*EVERYDAY, "Rain"} if split == "test" else set(EVERYDAY)
    assert lengths >= {1.5, 7.0}


def test_strangers_come_first_among_the_examples_of_everyday_sounds(with_everyday: Path) -> None:
    mixtures = OpenMixtures(with_everyday)
    drawn = [stem for index in range(40) for stem in mixtures.draw("everyday", index).stems]
    rain = next(stem for stem in drawn if stem.label == "Rain")
    sources = [mixtures.clips[one].source for one in rain.examples]
    assert sources == ["repository:some/sounds", *["made up"] * 4]


@pytest.mark.parametrize("split", ["test", "validation"])
def test_scenes_are_sparse_events_of_one_recordist_in_a_bed(
    with_everyday: Path, split: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("querysep.evaluation.protocols.open_mixtures.SHORTEST_BED_S", 2.0)
    monkeypatch.setattr("querysep.evaluation.protocols.open_mixtures._PEAK", 0.1)
    mixtures = OpenMixtures(with_everyday, split=split)
    read, heard = mixtures.read, set[int]()

    def note(index: int) -> FloatArray:
        heard.add(index)
        return read(index)

    monkeypatch.setattr(mixtures, "read", note)
    by_path = {clip.path: clip for clip in mixtures.clips}
    labels, beside, counts = set(), [], set()
    for index in range(8):
        scene = mixtures.draw("scenes", index)
        (stem,) = scene.stems
        assert len(scene.wave) == len(stem.wave) == 30 * SAMPLE_RATE and np.abs(scene.wave).max() <= 0.1 + 1e-6
        ends = [0, *(end for _, end in scene.events[:-1])]
        assert all(
            start - end >= 0.5 * SAMPLE_RATE for (start, _), end in list(zip(scene.events, ends, strict=True))[1:]
        )
        outside = np.ones(len(scene.wave), dtype=bool)
        for start, end in scene.events:
            assert 0.3 * SAMPLE_RATE - 1 <= end - start <= 3.0 * SAMPLE_RATE + 1
            outside[start:end] = False
        assert not stem.wave[outside].any() and outside.mean() >= 0.5
        clip = by_path[stem.clip]
        assert {mixtures.clips[one].origin for one in stem.examples}.isdisjoint({clip.origin})
        assert stem.label not in scene.beside and len(set(scene.beside)) == len(scene.beside)
        own = [mixtures.clips[one] for one in heard if mixtures.clips[one].labels[0] == stem.label]
        assert {one.origin for one in own} == {clip.origin}
        heard.clear()
        labels.add(stem.label)
        counts.add(len(scene.events))
        beside.append(scene.beside)
        if len(scene.beside) == 1:  # the bed alone, at 0 dB while the target sounds
            bed = scene.wave - stem.wave
            for start, end in scene.events:
                assert _energy(stem.wave[start:end]) == pytest.approx(_energy(bed[start:end]), rel=1e-2)
    assert labels <= set(EVERYDAY) and len(labels) > 1 and counts <= set(range(5, 11)) and len(counts) > 2
    under = "Rain" if split == "test" else "colored noise"  # there is no rain on the validation side
    assert all(under in some for some in beside)
    assert min(map(len, beside)) == 1 and max(map(len, beside)) > 1
    np.testing.assert_array_equal(
        mixtures.draw("scenes", 3).wave, OpenMixtures(with_everyday, split=split).draw("scenes", 3).wave
    )


def test_noise_comes_in_three_colors_for_each_class_that_is_unlike_it(with_everyday: Path) -> None:
    mixtures = OpenMixtures(with_everyday)
    assert set(mixtures.noise_classes) == set(mixtures.seen) - {"Rain"}
    assert mixtures.count("noise", 2) == 6 and mixtures.count("noise", 500) == 3 * len(mixtures.noise_classes)
    assert mixtures.count("seen", 500) == 500
    number = mixtures.noise_classes.index("Speech")
    drawn = [mixtures.draw("noise", 3 * number + color) for color in range(3)]
    assert [one.beside for one in drawn] == [("pink noise",), ("brown noise",), ("white noise",)]
    assert len({one.absent for one in drawn}) == 1 and drawn[0].absent is not None
    assert mixtures.clips[drawn[0].absent].source.startswith("repository:")
    for one in drawn:
        assert len(one.wave) == 10 * SAMPLE_RATE
        assert 10 * np.log10(_energy(one.wave) / len(one.wave)) == pytest.approx(-20.0, abs=0.01)
    assert OpenMixtures(with_everyday, seed=1).noise_classes != mixtures.noise_classes


def test_strangers_leave_the_other_kinds_seeds_alone() -> None:
    assert get_args(Kind)[:6] == ("seen", "held-out", "three sources", "stems", "speech over music", "clean")
    assert sorted(ORDER) == sorted(get_args(Kind))
