from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from recordings import WriteTone
from synthetic_set import make_set

from querysep.data.formats.data_set import open_recordings
from querysep.data.manifest import Split
from querysep.data.splitting import Candidate, divide
from querysep.data.store.packing import pack
from querysep.errors import DataError

HELD_OUT = {"Bee", "Door"}
LABELS = ["Rain", "Dog", "Drum", "Speech", *sorted(HELD_OUT)]


@st.composite
def candidates(draw: st.DrawFn) -> list[Candidate]:
    rows = draw(st.lists(st.tuples(st.sampled_from(LABELS), st.integers(0, 12)), max_size=80))
    return [Candidate(f"file{index}", label, f"origin{origin}") for index, (label, origin) in enumerate(rows)]


@given(candidates())
def test_no_origin_is_on_both_sides(rows: list[Candidate]) -> None:
    splits = defaultdict(set)
    for side in divide(rows, HELD_OUT).sides.values():
        splits[side.origin].add(side.split)
    assert all(len(split) == 1 for split in splits.values())


@given(candidates())
def test_only_the_named_labels_are_split_by_file(rows: list[Candidate]) -> None:
    division = divide(rows, HELD_OUT)
    for row in rows:
        by_file = division.sides[row.key].origin == f"{row.origin}#{row.key}"
        assert not by_file or row.label in division.split_by_file


@given(candidates())
def test_held_out_labels_are_never_trained_on(rows: list[Candidate]) -> None:
    sides = divide(rows, HELD_OUT).sides
    assert sides.keys() == {row.key for row in rows}
    for row in rows:
        assert sides[row.key].held_out == (row.label in HELD_OUT)
        assert row.label not in HELD_OUT or sides[row.key].split == "test"


@given(candidates())
def test_every_label_can_be_trained_and_tested(rows: list[Candidate]) -> None:
    sides = divide(rows, HELD_OUT).sides
    for label in set(LABELS) - HELD_OUT:
        splits = [sides[row.key].split for row in rows if row.label == label]
        if len(splits) >= 4:
            assert "train" in splits
            assert splits.count("test") >= (3 if len(splits) >= 7 else 2)


@given(candidates(), st.randoms())
def test_the_order_of_the_recordings_does_not_matter(rows: list[Candidate], random: Random) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert divide(shuffled, HELD_OUT) == divide(rows, HELD_OUT)


def test_about_a_fifth_is_tested_on() -> None:
    rows = [Candidate(f"file{index}", "Rain", f"origin{index // 4}") for index in range(400)]
    tested = sum(side.split == "test" for side in divide(rows, HELD_OUT).sides.values())
    assert 80 <= tested <= 84


def test_a_large_origin_is_trained_on() -> None:
    for large in range(10):
        origins = [f"origin{large}"] * 30 + [f"origin{index}" for index in range(10)]
        sides = divide([Candidate(f"file{index}", "Rain", origin) for index, origin in enumerate(origins)], []).sides
        assert sum(side.split == "test" for side in sides.values()) == 8


@st.composite
def pinned_candidates(draw: st.DrawFn) -> list[Candidate]:
    among: list[Split | None] = [None, "train", "test"]
    sides = st.sampled_from(among)
    return [replace(row, side=draw(sides)) for row in draw(candidates())]


@given(pinned_candidates())
def test_what_lay_on_a_side_before_stays_there(rows: list[Candidate]) -> None:
    sides = divide(rows, HELD_OUT).sides
    for row in rows:
        if row.label not in HELD_OUT and row.side is not None:
            assert (sides[row.key].split == "test") == (row.side == "test")


@given(pinned_candidates())
def test_no_origin_is_on_two_sides_in_a_later_edition_either(rows: list[Candidate]) -> None:
    splits = defaultdict(set)
    for side in divide(rows, HELD_OUT).sides.values():
        splits[side.origin].add(side.split)
    assert all(len(split) == 1 for split in splits.values())


def test_about_a_twelfth_of_what_is_trained_on_is_for_validation() -> None:
    rows = [Candidate(f"file{index}", "Rain", f"origin{index // 2}") for index in range(400)]
    rows += [Candidate(f"few{index}", "Dog", f"dog{index}") for index in range(12)]
    sides = divide(rows, HELD_OUT).sides
    assert 25 <= sum(sides[row.key].split == "validation" for row in rows if row.label == "Rain") <= 28
    assert not any(sides[row.key].split == "validation" for row in rows if row.label == "Dog")


@given(pinned_candidates())
def test_no_part_of_a_torn_origin_is_for_validation(rows: list[Candidate]) -> None:
    for key, side in divide([*rows, *(replace(row, key=f"{row.key}b") for row in rows)], HELD_OUT).sides.items():
        assert side.split != "validation" or not side.origin.endswith(f"#{key}")


def test_a_torn_kit_stays_out_of_validation() -> None:
    rows = [Candidate(f"file{index}", "Clap", "kit", "test" if index < 4 else "train") for index in range(40)]
    assert {side.split for side in divide(rows, HELD_OUT).sides.values()} == {"train", "test"}


def test_a_folder_without_sides_is_split_by_origin_where_a_test_side_is_asked_for(
    write_tone: WriteTone, tmp_path: Path
) -> None:
    for label in ("dog", "bell"):
        for number in range(10):
            write_tone(f"sounds/{label}/{number}.wav", seconds=0.1, frequency_hz=200 + 10 * number)
    opened = open_recordings(tmp_path / "sounds", 32_000, split="test")
    assert Counter(clip.labels[0] for clip in opened.clips) == {"dog": 3, "bell": 3}
    assert {clip.split for clip in opened.clips} == {"test"}
    assert len(opened.warnings) == 1 and "6 of its 20 clips are taken" in opened.warnings[0]
    again = open_recordings(tmp_path / "sounds", 32_000, split="test")
    assert list(again.clips) == list(opened.clips)
    whole = open_recordings(tmp_path / "sounds", 32_000)
    paths = [clip.path for clip in whole.clips]
    for index, clip in enumerate(opened.clips):
        np.testing.assert_array_equal(opened.read(index), whole.read(paths.index(clip.path)))
    kept = open_recordings(tmp_path / "sounds", 32_000, keep_test=True)
    assert [clip.path for clip in kept.clips if clip.split == "test"] == [clip.path for clip in opened.clips]
    assert {clip.split for clip in whole.clips} == {"train"}


def test_a_store_without_sides_is_split_as_well(write_tone: WriteTone, tmp_path: Path) -> None:
    for number in range(8):
        write_tone(f"sounds/dog/{number}.wav", seconds=0.1)
    pack(open_recordings(tmp_path / "sounds", 32_000), tmp_path / "store")
    names = []
    for place in ("sounds", "store"):
        opened = open_recordings(tmp_path / place, 32_000, split="test")
        names.append([clip.path for clip in opened.clips])
        assert "no test side" in opened.warnings[0] and opened.read(0).shape == (3_200,)
    assert names[0] == names[1] and len(names[0]) == 3


def test_clips_of_one_origin_stay_together_and_a_test_side_that_is_there_is_taken(tmp_path: Path) -> None:
    make_set(tmp_path, train=6, test=2)
    assert len(open_recordings(tmp_path, 32_000, split="test").clips) == 8
    assert not open_recordings(tmp_path, 32_000, split="test").warnings
    with pytest.raises(DataError, match="no clips in the split 'validation'"):
        open_recordings(tmp_path, 32_000, split="validation")


def test_too_few_clips_for_a_test_side_are_refused(write_tone: WriteTone, tmp_path: Path) -> None:
    write_tone("sounds/dog/1.wav")
    with pytest.raises(DataError, match="too few clips"):
        open_recordings(tmp_path / "sounds", 32_000, split="test")
