from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from soundfonts import Content, write_soundfont

from openset.instruments import (
    FEWEST_SHARED,
    RESERVED_DRUM_KEYS,
    RESERVED_PROGRAMS,
    Font,
    Instrument,
    Soundfont,
    check_split,
    playable,
    read_instruments,
    window_hashes,
)
from openset.recordings import HELD_OUT, RESERVED_IN_PACKAGES
from querysep.data.manifest import Clip, Split
from querysep.errors import DataError


def test_no_reserved_instrument_is_played() -> None:
    for one in read_instruments():
        assert one.label not in RESERVED_IN_PACKAGES
        if one.bank == 128:
            assert not RESERVED_DRUM_KEYS & set(one.keys)
        elif one.font in ("fluid", "musescore") and one.bank != 128:
            assert one.preset not in RESERVED_PROGRAMS
        assert (one.style == "kit") == (one.bank == 128)


def test_drums_of_kits_that_lie_elsewhere_are_left_out() -> None:
    instruments = read_instruments()
    snare = Clip(
        path="a.flac",
        labels=("Snare drum",),
        duration_s=1,
        licence="GPL-2",
        source="hydrogen-drumkits",
        origin="hydrogen-drumkits:The Black Pearl 1.0#x",
        split="train",
    )
    assert playable(instruments, [snare]) == instruments
    left = playable(instruments, [snare.model_copy(update={"split": "validation"})])
    gone = [one for one in instruments if one not in left]
    assert {(one.font, one.label) for one in gone} == {("black-pearl", "Snare drum"), ("red-zeppelin", "Snare drum")}
    assert playable(instruments, [snare.model_copy(update={"split": "test", "origin": "b"})]) == instruments


def test_families_and_held_out_labels_are_not_split() -> None:
    splits = defaultdict(set)
    for one in read_instruments():
        splits[one.family].add(one.split)
        assert one.label not in HELD_OUT or one.split == "test"
    assert all(len(split) == 1 for split in splits.values())


def _noise(seed: int, size: int = 8_000) -> Content:
    return (np.random.default_rng(seed).normal(size=size) * 3_000).astype(np.int16)


def _voice(preset: int, split: Split, keys: tuple[int, ...] = (60,), bank: int = 0) -> Instrument:
    return Instrument("Piano", "melody", "fluid", bank, preset, keys, f"family-{preset}-{keys[0]}", split)


def test_a_voice_plays_the_samples_of_its_keys(tmp_path: Path) -> None:
    samples = {"low": _noise(0), "high": _noise(1), "drum": _noise(2)}
    presets = {(0, 5): [("low", 0, 59), ("high", 60, 127)], (128, 0): [("drum", 36, 36)]}
    font = Soundfont(write_soundfont(tmp_path / "a.sf2", samples, presets))
    assert font.presets == {(0, 5): [(0, 0, 59), (1, 60, 127)], (128, 0): [(2, 36, 36)]}
    assert font.samples_of(0, 5, [40, 50]) == {0}
    assert font.samples_of(0, 5, [59, 60]) == {0, 1}
    assert font.samples_of(128, 0, [36]) == {2}
    assert font.samples_of(128, 0, [37]) == set()
    assert font.samples_of(1, 5, [60]) == set()
    assert font.fingerprint(1) == window_hashes(samples["high"])


def test_a_recording_is_known_wherever_it_was_cut() -> None:
    sound = _noise(0)
    whole = window_hashes(sound)
    assert len(whole) > 60
    part = window_hashes(sound[1_003:5_001])
    assert len(part) > 20
    assert part < whole
    assert not whole & window_hashes(_noise(1))
    assert window_hashes(np.zeros(5_000, dtype=np.int16)) == frozenset()
    assert window_hashes(sound[:20]) == frozenset()


def test_the_split_is_checked_by_content_and_by_name(tmp_path: Path) -> None:
    sound = _noise(0)
    samples = {"grand": sound, "trimmed": sound[500:6_000], "other": _noise(1), "Grand-L": _noise(2), "free": _noise(3)}
    presets = {(0, number): [(name, 0, 127)] for number, name in enumerate(samples)}
    fonts: dict[Font, Path] = {"fluid": write_soundfont(tmp_path / "a.sf2", samples, presets)}
    assert len(window_hashes(samples["trimmed"])) > FEWEST_SHARED
    check_split([_voice(0, "train"), _voice(1, "train"), _voice(2, "test"), _voice(4, "test")], fonts)
    with pytest.raises(DataError, match=r"fluid-family-(1|0)-60-0-(1|0).*same recordings.*instruments\.csv"):
        check_split([_voice(0, "train"), _voice(1, "test")], fonts)
    with pytest.raises(DataError, match="same recordings"):
        check_split([_voice(0, "train"), _voice(3, "test")], fonts)  # only the names are alike
    with pytest.raises(DataError, match="has no preset 0:9"):
        check_split([_voice(9, "train")], fonts)


def test_one_sample_on_two_sides_is_found_though_it_is_short(tmp_path: Path) -> None:
    samples = {"click": _noise(0, 30)}
    fonts: dict[Font, Path] = {"fluid": write_soundfont(tmp_path / "a.sf2", samples, {(0, 0): [("click", 0, 127)]})}
    with pytest.raises(DataError, match="same recordings"):
        check_split([_voice(0, "train"), _voice(0, "test", (61,))], fonts)


def test_what_is_no_soundfont_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read the soundfont"):
        Soundfont(tmp_path / "missing.sf2")
    (tmp_path / "a.sf2").write_bytes(b"RIFF" + bytes(40))
    with pytest.raises(DataError, match="is no SF2 soundfont"):
        Soundfont(tmp_path / "a.sf2")
