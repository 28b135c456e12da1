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
    assert mixtures.kinds == ORDER[1:]  # there is nothing of strangers
    for index in range(8):
        labels = {kind: [stem.label for stem in mixtures.draw(kind, index).stems] for kind in mixtures.kinds}
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


def test_strangers_leave_the_other_kinds_seeds_alone() -> None:
    assert get_args(Kind)[:6] == ("seen", "held-out", "three sources", "stems", "speech over music", "clean")
    assert sorted(ORDER) == sorted(get_args(Kind))
