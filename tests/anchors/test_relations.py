"""Which classes are kinds of which."""

from querysep.anchors.relations import Relations


class _Animals:
    def __contains__(self, label: object) -> bool:
        return label in ("Animal", "Dog", "Bark", "Speech", "Music")

    def ancestors(self, label: str) -> tuple[str, ...]:
        return {"Dog": ("Animal",), "Bark": ("Dog", "Animal")}.get(label, ())


def test_an_ontology_decides_where_it_knows_both() -> None:
    relations = Relations([("Bark", "Speech")] * 9, _Animals())
    assert relations.related("Bark", "Animal") and relations.related("Animal", "Bark")
    assert not relations.related("Bark", "Speech")
    assert relations.heard(("Animal", "Speech", "Bark")) == ("Speech", "Bark")
    assert relations.related("Dog", "Dog") and not relations.related("Dog", "Speech")


def test_labels_that_always_follow_are_kinds_where_nobody_knows() -> None:
    sets = [("tram", "vehicle")] * 3 + [("bus", "vehicle")] * 2 + [("horn", "tram", "vehicle")] * 3 + [("horn",)]
    relations = Relations(sets)
    assert relations.ancestors("tram") == {"vehicle"}
    assert relations.ancestors("bus") == frozenset()  # of two clips
    assert relations.ancestors("horn") == frozenset()  # one clip without
    assert relations.ancestors("vehicle") == frozenset()
    assert relations.heard(("tram", "vehicle")) == ("tram",)
    assert relations.heard(("horn", "tram", "vehicle")) == ("horn", "tram")
    assert relations.heard(("never seen",)) == ("never seen",)
