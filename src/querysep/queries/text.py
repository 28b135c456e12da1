"""Free words to classes: which of the label bank's classes the words mean, and how much each."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from querysep.errors import QueryError, WeightsError
from querysep.io.label_bank import LabelBank
from querysep.io.text_map import TextMap
from querysep.queries.labels import LabelBook
from querysep.queries.text_encoder import TextEncoder, load_text_encoder

PROBE = "an owl hoots while a train passes far away"
TOLD = 5  # classes that the words may mean
_SAME_ENCODER = 0.95  # cosine; int8 arithmetic differs a little from processor to processor
_NEARER = 0.05  # cosine


@dataclass(frozen=True)
class Meaning:
    """What words mean.

    Attributes:
        classes: rows of the label bank and their weights, largest first; the weights add up to 1.
        warnings: what the user should know.
    """

    classes: tuple[tuple[int, float], ...]
    warnings: tuple[str, ...] = ()


def understand(words: str, bank: LabelBank | None, text_map: TextMap | None) -> Meaning:
    """Tell which classes words mean.

    The name of a class, in any spelling that ``label:`` knows, means that class. Other words are compared with phrases
    for each class. The score of a class is the soft maximum of the cosines to its phrases; the weights are the softmax
    of the scores, of the five largest.

    Args:
        words: of the user.
        bank: the classes that can be asked for.
        text_map: made for this bank; not needed for the name of a class.

    Raises:
        QueryError: the model has no label bank or knows no words.
        WeightsError: the map was made for another bank, or by another encoder.
        ConfigError: the encoder is not installed.
    """
    if bank is None:
        raise QueryError(
            f"'text:{words}': this model has no label bank. Add one with `querysep labels --build`, or give an example."
        )
    named = _named(words, bank)
    if named:
        return Meaning(tuple((row, 1 / len(named)) for row in named))
    if text_map is None:
        raise QueryError(
            f"'text:{words}': this model knows the names of its classes only. Add words with `querysep labels --text`, "
            "or see `querysep labels`."
        )
    if text_map.facts.bank != bank.hash:
        raise WeightsError("The model's text was made for another label bank. Run `querysep labels --text`.")
    encoder = load_text_encoder(text_map.facts.encoder)
    _check_encoder(encoder, text_map)
    vector = torch.from_numpy(encoder.encode([words])[0])
    facts = text_map.facts
    scores = class_scores(vector[None], text_map.phrases, text_map.owners, len(bank.rows), facts.phrase_temperature)
    weights = class_weights(scores, facts.class_temperature)[0]
    order = torch.argsort(weights, descending=True, stable=True)[:TOLD].tolist()
    classes = tuple((row, float(weights[row])) for row in order if weights[row] > 0)
    return Meaning(classes, _warnings(words, vector, bank, text_map, order))


def class_scores(
    vectors: Float[Tensor, "text text_dim"],
    phrases: Float[Tensor, "phrase text_dim"],
    owners: Int[Tensor, " phrase"],
    classes: int,
    temperature: float,
) -> Float[Tensor, "text class"]:
    """Return how near each text is to each class: the soft maximum of the cosines to its phrases.

    Args:
        vectors: of the texts, of length 1.
        phrases: of the classes, of length 1.
        owners: which class each phrase belongs to; those of no class of the first ``classes`` do not count.
        classes: how many there are; one without phrases is as far as can be.
        temperature: the smaller, the more only the nearest phrase counts.
    """
    scores = vectors.new_full((len(vectors), classes), -1.0)
    cosines = vectors @ phrases.T
    for one in set(owners.tolist()) & set(range(classes)):
        own = cosines[:, owners == one]
        scores[:, one] = temperature * (torch.logsumexp(own / temperature, dim=1) - math.log(own.shape[1]))
    return scores


def class_weights(scores: Float[Tensor, "text class"], temperature: float) -> Float[Tensor, "text class"]:
    """Return the softmax over the five nearest classes; 0 for the others."""
    least = scores.topk(min(TOLD, scores.shape[1]), dim=1).values[:, -1:]
    return torch.softmax((scores / temperature).masked_fill(scores < least, -torch.inf), dim=1)


def _named(words: str, bank: LabelBank) -> tuple[int, ...]:
    try:
        return LabelBook(bank).find(words).rows
    except QueryError:
        return ()


def _check_encoder(encoder: TextEncoder, text_map: TextMap) -> None:
    probe = torch.from_numpy(encoder.encode([PROBE])[0])
    if probe.shape != text_map.probe.shape or float(probe @ text_map.probe) < _SAME_ENCODER:
        raise WeightsError(
            f"The model's text was made by another version of the encoder '{text_map.facts.encoder}'. "
            "Run `querysep labels --text`."
        )


def _warnings(
    words: str, vector: Float[Tensor, " text_dim"], bank: LabelBank, text_map: TextMap, order: list[int]
) -> tuple[str, ...]:
    """Tell of words that are far from every class, or nearer to a class that the bank does not have."""
    nearest = ", ".join(f"'{bank.rows[row].label}'" for row in order[:3])
    cosines = text_map.phrases @ vector
    known = text_map.owners < len(bank.rows)
    best = float(cosines[known].max())
    missing = cosines.masked_fill(known, -1.0)
    if not known.all() and float(missing.max()) > max(best + _NEARER, text_map.facts.far):
        other = text_map.facts.others[int(text_map.owners[missing.argmax()]) - len(bank.rows)]
        return (
            f"'text:{words}' sounds like '{other}', which this model has no examples of; it was taken as the nearest "
            f"that it has: {nearest}. Give an example of the sound.",
        )
    if best < text_map.facts.far:
        return (
            f"'text:{words}' is far from everything that this model knows by words; it was taken as the nearest: "
            f"{nearest}. Use other words, or give an example of the sound.",
        )
    return ()
