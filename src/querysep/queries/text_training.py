"""From phrases to a text map: how words of a user become classes of a label bank.

Nothing is fitted but two temperatures. They are chosen by how near the condition of a phrase comes to that of its
class: with a fifth of the phrases left out at a time, and with all phrases of its class left out, as for a sound that
the bank does not have. Both count alike.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import torch
from jaxtyping import Float, Int
from torch import Tensor

from querysep.data.ontology import Ontology, audioset
from querysep.errors import DataError
from querysep.io.label_bank import LabelBank
from querysep.io.text_map import TextFacts, TextMap
from querysep.queries.labels import everyday_words, name_parts
from querysep.queries.text import PROBE, class_scores, class_weights
from querysep.queries.text_encoder import DEFAULT, load_text_encoder

_PHRASE_TEMPERATURES = (0.05, 0.1, 0.2)
_CLASS_TEMPERATURES = (0.02, 0.03, 0.05, 0.07, 0.1)
_FOLDS = 5
_FAR_SHARE = 0.02  # of phrases left out that are farther from every other phrase


@dataclass(frozen=True)
class Phrase:
    """What people may call a class."""

    label: str
    words: str


@dataclass(frozen=True)
class TrainedText:
    """A text map, and how well it knows phrases that it was not made from.

    Attributes:
        text_map: made from all phrases.
        phrases: how many are of classes of the bank.
        top_1: share of the phrases, each left out, whose class is the nearest.
        top_5: share whose class is among the five nearest.
    """

    text_map: TextMap
    phrases: int
    top_1: float
    top_5: float


def bundled_phrases() -> list[Phrase]:
    """Return the phrases that the package carries."""
    return parse_phrases(files("querysep").joinpath("assets", "text", "phrases.txt").read_text(encoding="utf-8"))


def parse_phrases(text: str) -> list[Phrase]:
    """Read lines such as ``Dog: barking | a puppy``; those that begin with # are remarks.

    Raises:
        DataError: a line without a colon.
    """
    found = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        label, colon, phrases = line.partition(": ")
        if line.startswith("#"):
            continue
        if not colon:
            raise DataError(f"'{line[:60]}' is not of the form 'CLASS: phrase | phrase'.")
        found += [Phrase(label, words) for words in phrases.split(" | ")]
    return found


def train_text_map(
    bank: LabelBank, phrases: Sequence[Phrase], encoder_name: str = DEFAULT, ontology: Ontology | None = None
) -> TrainedText:
    """Make a text map for a label bank: seconds on one core, and always the same.

    Args:
        bank: with at least two classes.
        phrases: beside the names of the classes; those of classes that the bank does not have tell what it lacks.
        encoder_name: of the text encoder.
        ontology: names what there is beside the classes of the bank.

    Raises:
        DataError: fewer than two classes.
        ConfigError: the encoder is not installed.
    """
    if len(bank.rows) < 2:
        raise DataError(f"Words need a label bank of at least two classes; this one has {len(bank.rows)}.")
    ontology = audioset() if ontology is None else ontology
    labels = [row.label for row in bank.rows]
    above = {parent for row in bank.rows for parent in row.ancestors}
    above |= {parent for label in labels if label in ontology for parent in ontology.ancestors(label)}
    everything = {
        phrase: None for phrase in [*_names(labels, ontology), *phrases] if phrase.label not in above - set(labels)
    }
    others = sorted({phrase.label for phrase in everything} - set(labels))
    place = {label: index for index, label in enumerate([*labels, *others])}
    encoder = load_text_encoder(encoder_name)
    vectors = torch.from_numpy(encoder.encode([phrase.words for phrase in everything]))
    owners = torch.tensor([place[phrase.label] for phrase in everything])
    own = owners < len(labels)
    chosen = _choose(vectors[own], owners[own], bank.conditions)
    facts = TextFacts(
        encoder=encoder_name,
        bank=bank.hash,
        others=tuple(others),
        phrase_temperature=chosen.phrase_temperature,
        class_temperature=chosen.class_temperature,
        far=_far(vectors[own]),
    )
    probe = torch.from_numpy(encoder.encode([PROBE])[0])
    top_1, top_5 = (float((chosen.ranks < count).float().mean()) for count in (1, 5))
    return TrainedText(TextMap(facts, vectors, owners, probe), int(own.sum()), top_1, top_5)


def _names(labels: Sequence[str], ontology: Ontology) -> list[Phrase]:
    """Return what classes are called: their names, each of the names in one, and everyday words."""
    names = [
        Phrase(label, part.lower()) for label in dict.fromkeys([*labels, *ontology.names]) for part in name_parts(label)
    ]
    return names + [Phrase(label, word) for word, label in everyday_words().items()]


@dataclass(frozen=True)
class _Choice:
    phrase_temperature: float
    class_temperature: float
    ranks: Int[Tensor, " phrase"]


def _choose(
    vectors: Float[Tensor, "phrase text_dim"],
    owners: Int[Tensor, " phrase"],
    conditions: Float[Tensor, "class condition_dim"],
) -> _Choice:
    """Choose the temperatures."""
    count = len(conditions)
    best: tuple[float, _Choice] | None = None
    for of_phrases, of_classes in itertools.product(_PHRASE_TEMPERATURES, _CLASS_TEMPERATURES):
        left_out = _left_out_scores(vectors, owners, count, of_phrases)
        without_class = class_scores(vectors, vectors, owners, count, of_phrases)
        without_class[torch.arange(len(owners)), owners] = -torch.inf
        error = sum(
            float((class_weights(scores, of_classes) @ conditions - conditions[owners]).square().sum(1).mean())
            for scores in (left_out, without_class)
        )
        ranks = (left_out > left_out.gather(1, owners[:, None])).sum(1)
        if best is None or error < best[0]:
            best = error, _Choice(of_phrases, of_classes, ranks)
    assert best is not None
    return best[1]


def _left_out_scores(
    vectors: Float[Tensor, "phrase text_dim"], owners: Int[Tensor, " phrase"], count: int, temperature: float
) -> Float[Tensor, "phrase class"]:
    """Return the scores of each phrase by the phrases of the other folds."""
    scores = vectors.new_zeros((len(vectors), count))
    fold_of = torch.arange(len(vectors)) % _FOLDS
    for fold in range(_FOLDS):
        here = fold_of == fold
        scores[here] = class_scores(vectors[here], vectors[~here], owners[~here], count, temperature)
    return scores


def _far(vectors: Float[Tensor, "phrase text_dim"]) -> float:
    """Return the cosine to the nearest other phrase that nearly all phrases reach."""
    cosines = vectors @ vectors.T
    cosines.fill_diagonal_(-1.0)
    return float(torch.quantile(cosines.max(dim=1).values, _FAR_SHARE))
