"""Classes by name: any spelling, synonyms, parents, and what is offered on a miss."""

import pytest
import torch

from querysep.errors import QueryError
from querysep.io.label_bank import BankRow, LabelBank
from querysep.queries.labels import LabelBook

LABELS = (
    "Dog",
    "Bird vocalization, bird call, bird song",
    "Cattle, bovinae",
    "Speech",
    "Male speech, man speaking",
    "Walk, footsteps",
    "Hi-hat",
    "Bass drum",
    "Vehicle horn, car horn, honking",
    "My own siren",
)


@pytest.fixture(scope="module")
def book() -> LabelBook:
    rows = [BankRow(label=label, examples=3) for label in LABELS[:-1]]
    rows.append(BankRow(label=LABELS[-1], examples=3, ancestors=("Warnings",)))
    return LabelBook(LabelBank(tuple(rows), torch.zeros(len(rows), 2), torch.zeros(len(rows), 2)))


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("Dog", ["Dog"]),
        (" dOG ", ["Dog"]),
        ("a dog", ["Dog"]),
        ("dogs", ["Dog"]),
        ("Bird vocalization, bird call, bird song", [LABELS[1]]),
        ("bird call", [LABELS[1]]),
        ("birdsong", [LABELS[1]]),  # an everyday word
        ("cow", [LABELS[2]]),
        ("footstep", [LABELS[5]]),
        ("hi hat", ["Hi-hat"]),
        ("kick drum", ["Bass drum"]),
        ("man speaking", [LABELS[4]]),
        ("Speech", ["Speech"]),  # it has examples of its own
        ("Human voice", ["Speech", LABELS[4]]),
        ("Animal", ["Dog", LABELS[1], LABELS[2]]),
        ("Livestock, farm animals, working animals", [LABELS[2]]),
        ("warnings", ["My own siren"]),  # a parent that only the bank knows
        ("drum", ["Bass drum"]),
    ],
)
def test_what_a_name_means(book: LabelBook, name: str, labels: list[str]) -> None:
    assert [LABELS[row] for row in book.find(name).rows] == labels


EVERYDAY = (
    "Bark",
    "Cat",
    "Dog",
    "Meow",
    "Computer keyboard",
    "Police car (siren)",
    "Crackle",
    "Tick-tock",
    "Bird vocalization, bird call, bird song",
    "Motor vehicle (road)",
    "Baby cry, infant cry",
    "Keys jangling",
)


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("cat", "Cat"),
        ("meowing", "Meow"),
        ("dog", "Dog"),  # no wolf
        ("barking", "Bark"),
        ("typing", "Computer keyboard"),  # by kind
        ("keyboard typing", "Computer keyboard"),
        ("siren", "Police car (siren)"),
        ("ambulance siren", "Police car (siren)"),
        ("clock ticking", "Tick-tock"),
        ("crackling fire", "Crackle"),
        ("car", "Motor vehicle (road)"),  # the bank lacks the class itself
        ("crow", "Bird vocalization, bird call, bird song"),
        ("baby crying", "Baby cry, infant cry"),
        ("keys", "Keys jangling"),
    ],
)
def test_everyday_sounds_have_everyday_names(name: str, label: str) -> None:
    rows = tuple(BankRow(label=one, examples=3) for one in EVERYDAY)
    book = LabelBook(LabelBank(rows, torch.zeros(len(rows), 2), torch.zeros(len(rows), 2)))
    assert [EVERYDAY[row] for row in book.find(name).rows] == [label]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Dgo", "'Dgo' is not a known label.*Closest: 'Dog'"),
        ("own siren", r"not a known label.*'My own siren'.*querysep labels"),
        ("quetzal", "'quetzal' is not a known label. See"),
        ("Cat", "'Cat' is not among the labels that this model has examples of. Closest: .*'Domestic animals, pets'"),
        ("Timpani", "'Timpani' is not among.*Closest: 'Drum'"),
        ("", "not a known label"),
    ],
)
def test_a_miss_offers_what_comes_close(book: LabelBook, name: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as caught:
        book.find(name)
    assert "\n" not in str(caught.value)


def test_parents_are_those_without_examples_of_their_own(book: LabelBook) -> None:
    parents = {found.label: len(found.rows) for found in book.parents()}
    assert parents["Animal"] == 3
    assert parents["Warnings"] == 1
    assert "Speech" not in parents
    assert book.ancestors("My own siren") == ("Warnings",)


def test_every_everyday_word_means_a_class() -> None:
    from querysep.data.ontology import audioset
    from querysep.queries.labels import _key, everyday_words

    names = {_key(name) for name in audioset().names}
    assert len(everyday_words()) > 50
    assert not [word for word, label in everyday_words().items() if _key(label) not in names]
