import json
from pathlib import Path

import pytest

from querysep.data.ontology import Ontology, SoundClass, audioset
from querysep.errors import DataError

ROWS = [
    {"id": "/m/1", "name": "Animal", "child_ids": ["/m/2", "/m/3"], "restrictions": ["abstract"]},
    {"id": "/m/2", "name": "Dog", "child_ids": ["/m/4"], "restrictions": []},
    {"id": "/m/3", "name": "Wolf", "child_ids": ["/m/4"], "restrictions": []},
    {"id": "/m/4", "name": "Howl", "child_ids": [], "restrictions": []},
]


def test_a_class_may_have_two_parents(tmp_path: Path) -> None:
    path = tmp_path / "ontology.json"
    path.write_text(json.dumps(ROWS))
    ontology = Ontology.from_json(path)
    assert ontology.names == ("Animal", "Dog", "Wolf", "Howl")
    assert set(ontology.parents("Howl")) == {"Dog", "Wolf"}
    assert ontology.ancestors("Howl") == {"Dog", "Wolf", "Animal"}
    assert ontology.children("Animal") == ("Dog", "Wolf")
    assert ontology.descendants("Animal") == {"Dog", "Wolf", "Howl"}
    assert ontology.name_of("/m/3") == "Wolf"
    assert ontology.related("Howl", "Animal")
    assert ontology.related("Dog", "Dog")
    assert not ontology.related("Dog", "Wolf")
    assert not ontology.related("Dog", "Quasar")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS, {"id": "/m/9", "name": "Dog", "child_ids": []}], "two classes 'Dog'"),
        ([{"id": "/m/1", "name": "Dog", "child_ids": ["/m/8"]}], "'Dog' has unknown children: /m/8"),
        ([{"id": "/m/1", "name": "Dog", "child_ids": ["/m/1"]}], "'Dog' is a kind of itself"),
        ([{"id": "/m/1", "child_ids": []}], "list of objects with id, name and child_ids"),
        ({"name": "Dog"}, "must be a JSON list"),
    ],
)
def test_a_broken_ontology_is_told(tmp_path: Path, rows: object, message: str) -> None:
    path = tmp_path / "ontology.json"
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=message):
        Ontology.from_json(path)


def test_an_unknown_class_is_told() -> None:
    with pytest.raises(DataError, match="'Quasar' is no class"):
        audioset().parents("Quasar")


def test_audioset_has_its_632_classes_and_527_labels() -> None:
    ontology = audioset()
    assert len(ontology) == 632
    indices = {one.index: one.name for one in ontology if one.index is not None}
    assert set(indices) == set(range(527))
    assert (indices[0], indices[137], indices[526]) == ("Speech", "Music", "Field recording")
    assert ontology["Dog"] == SoundClass("/m/0bt9lr", "Dog", 74, frozenset(), ontology["Dog"].child_ids)
    assert {"Snare drum", "Drum", "Percussion", "Musical instrument", "Music"} == ontology.ancestors("Rimshot")
    assert {one.name for one in ontology if not ontology.parents(one.name)} == {
        "Human sounds", "Animal", "Music", "Natural sounds", "Sounds of things", "Source-ambiguous sounds",
        "Channel, environment and background",
    }  # fmt: skip
