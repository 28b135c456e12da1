from collections import defaultdict
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from openset.splitting import Candidate, divide
from querysep.data.manifest import Split

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
