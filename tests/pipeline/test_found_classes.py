"""From a presence map to groups: stretches, levels, parents and names."""

from typing import Literal

import numpy as np
import pytest

from querysep.data.ontology import audioset
from querysep.detection.windows import PresenceMap
from querysep.pipeline.found_classes import found_groups, group_of, slugs
from querysep.pipeline.split_parts import clearest_span


def heard(*tracks: list[float]) -> PresenceMap:
    framewise = np.array(tracks, np.float32)
    return PresenceMap(framewise, 1.0, float(framewise.shape[1]), framewise.max(axis=1))


def spans(
    presence: PresenceMap, labels: tuple[str, ...], level: Literal[1, 2, 3] = 3
) -> dict[str, list[tuple[float, float]]]:
    groups = found_groups(presence, labels, level, 0.5)
    return {group.label: [(event.onset_s, event.offset_s) for event in group.events] for group in groups}


def test_a_stretch_reaches_the_threshold_and_ends_at_half_of_it() -> None:
    found = found_groups(heard([0.1, 0.3, 0.6, 0.3, 0.2, 0.3, 0.4, 0.1, 0.5, 0.5]), ("Dog",), 3, 0.5)
    assert [(event.onset_s, event.offset_s) for event in found[0].events] == [(1, 4), (8, 10)]
    assert [event.score for event in found[0].events] == [pytest.approx(0.6), pytest.approx(0.5)]
    assert found[0].amount == pytest.approx(0.3 + 0.6 + 0.3 + 0.5 + 0.5)


def test_a_parent_counts_where_none_of_its_kinds_is_heard() -> None:
    drum, snare = [0.9, 0.9, 0.9, 0.9, 0.9, 0.9], [0.0, 0.0, 0.0, 0.0, 0.8, 0.8]
    labels = ("Drum", "Snare drum")
    assert spans(heard(drum, snare), labels) == {"Drum": [(0, 4)], "Snare drum": [(4, 6)]}
    assert spans(heard(drum[:3] + [0.0] * 3, snare), labels) == {"Drum": [(0, 3)], "Snare drum": [(4, 6)]}
    much = [0.0, 0.8, 0.8, 0.8, 0.8, 0.8]
    assert spans(heard(drum, much), labels) == {"Snare drum": [(1, 6)]}
    assert spans(heard(drum, much), labels, level=2) == {"Percussion": [(0, 6)]}


def test_the_group_of_which_there_is_most_comes_first_and_names_its_classes() -> None:
    labels = ("Cat", "Dog", "Speech", "Own class")
    presence = heard([0.6, 0, 0, 0], [0, 0.9, 0.9, 0], [0.9, 0.9, 0.9, 0.9], [0.4, 0.4, 0.4, 0.4])
    groups = found_groups(presence, labels, 1, 0.5)
    assert [(group.label, group.classes) for group in groups] == [("Human sounds", (2,)), ("Animal", (1, 0))]
    assert found_groups(presence, labels, 3, 0.95) == []


@pytest.mark.parametrize(
    ("label", "first", "second"),
    [
        ("Dog", "Animal", "Domestic animals, pets"),
        ("Violin, fiddle", "Music", "Bowed string instrument"),
        ("Music", "Music", "Music"),
        ("Cowbell", "Sounds of things", "Bell"),
        ("Rain", "Natural sounds", "Water"),
        ("Not in AudioSet", "Not in AudioSet", "Not in AudioSet"),
    ],
)
def test_groups_by_level(label: str, first: str, second: str) -> None:
    assert [group_of(label, level, audioset()) for level in (1, 2, 3)] == [first, second, label]


def test_names_for_files() -> None:
    labels = ("Bird vocalization, bird call, bird song", "Male speech, man speaking", "Rest", "Ünique Ton")
    assert list(slugs(labels).values()) == ["bird-vocalization", "male-speech", "class-rest", "ünique-ton"]
    alike = slugs(("Dog!", "Dog?", "Dog, barking"))
    assert len(set(alike.values())) == 3
    assert len(set(slugs(audioset().names).values())) == len(audioset())


def test_the_clearest_span_is_where_it_is_alone() -> None:
    dog, bell = [0.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.0], [0.9, 0.9, 0.9, 0.0, 0.0, 0.0, 0.0]
    presence = heard(dog, bell)
    groups = {group.label: group for group in found_groups(presence, ("Dog", "Bell"), 3, 0.5)}
    assert clearest_span(groups["Dog"], [groups["Bell"]], presence, most_s=2.0) == (3.0, 5.0)
    assert clearest_span(groups["Bell"], [groups["Dog"]], presence, most_s=2.0) == (0.0, 2.0)
    assert clearest_span(groups["Dog"], [], presence, most_s=60.0) == (1.0, 6.0)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_silence_and_places_are_not_taken_out(level: Literal[1, 2, 3]) -> None:
    found = found_groups(heard([0.9], [0.9], [0.9]), ("Silence", "Inside, small room", "Dog"), level, 0.5)
    assert len(found) == 1
    assert found[0].classes == (2,)
