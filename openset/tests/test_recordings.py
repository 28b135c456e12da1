"""Which recordings are taken, what their labels are, and which of them belong together."""

from collections import defaultdict

import pytest

from openset.recordings import (
    HELD_OUT,
    MEANT_PARENTS,
    RESERVED,
    RESERVED_IN_PACKAGES,
    Recording,
    labels_of,
    origin_of,
    read_recordings,
    select,
)
from querysep.data.ontology import audioset


def test_the_bundled_list_keeps_to_the_rules() -> None:
    recordings = read_recordings()
    labels = {one.label for one in recordings}
    assert not labels & RESERVED_IN_PACKAGES
    assert labels >= HELD_OUT
    assert len({one.key for one in recordings}) == len(recordings)
    assert not {"searchandrescue-data", "krank"} & {one.package for one in recordings}


def test_speech_and_music_are_capped_and_nothing_else() -> None:
    recordings = read_recordings()
    chosen = select(recordings)
    assert select(reversed(recordings)) == chosen
    seconds: defaultdict[tuple[str, str], float] = defaultdict(float)
    for one in chosen:
        kind = "Speech" if "peech" in one.label else one.label
        seconds[kind, origin_of(one)] += one.seconds
    speech = [amount for (kind, _), amount in seconds.items() if kind == "Speech"]
    assert 13_000 <= sum(speech) < 13_100
    assert len(speech) > 100
    left = {origin_of(one) for one in set(recordings) - set(chosen) if "peech" in one.label}
    fewest = min(seconds["Speech", voice] for voice in left)
    assert max(speech) < fewest + max(one.seconds for one in recordings if "peech" in one.label)
    assert sum(one.label == "Music" for one in chosen) == 240
    others = [one for one in recordings if one.label != "Music" and "peech" not in one.label]
    assert [one for one in chosen if one.label != "Music" and "peech" not in one.label] == others


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (("a", "x/rain1.ogg", "Rain"), ("a", "x/rain_02b.ogg", "Rain"), True),
        (("a", "x/rain1.ogg", "Rain"), ("a", "x/wind1.ogg", "Wind"), False),
        (("a", "x/rain1.ogg", "Rain"), ("a", "y/rain1.ogg", "Rain"), False),
        (("hydrogen-drumkits", "d/Kit/a.wav", "Drum"), ("hydrogen-drumkits", "d/Kit/b.wav", "Cymbal"), True),
        (("klettres-data", "usr/share/klettres/da/alpha/a.ogg", "Speech"),
         ("klettres-data", "usr/share/klettres/da/syllab/b.ogg", "Speech"), True),
        (("tuxpaint-stamps-default", "s/owl_desc_ru.ogg", "Speech"),
         ("tuxpaint-stamps-default", "t/cow_desc_bg.ogg", "Speech"), False),
        (("a", "x/song1.ogg", "Music"), ("a", "x/song2.ogg", "Music"), False),
    ],
)  # fmt: skip
def test_what_belongs_together(first: tuple[str, str, str], second: tuple[str, str, str], together: bool) -> None:
    one, other = (Recording(package, path, label, 1.0, "") for package, path, label in (first, second))
    assert (origin_of(one) == origin_of(other)) == together


def test_labels_have_all_their_ancestors_that_audioset_labels() -> None:
    assert labels_of("Machine gun") == ("Machine gun", "Gunshot, gunfire", "Explosion")
    assert labels_of("Groan") == ("Groan",)
    assert labels_of("Cowbell") == ("Cowbell", "Percussion", "Musical instrument", "Music")
    assert labels_of("Howl") == ("Howl", "Animal")
    for name, parents in MEANT_PARENTS.items():
        assert set(parents) < set(audioset().parents(name))


def test_no_trained_class_is_a_kind_of_one_that_is_never_trained_on() -> None:
    for label in {one.label for one in read_recordings()}:
        assert label in audioset()
        labels = set(labels_of(label))
        assert not labels & RESERVED
        assert label in HELD_OUT or not labels & HELD_OUT
