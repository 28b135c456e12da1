"""What a query becomes: the condition for the separator, and what went into it."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from querysep.queries.query import Query


@dataclass(frozen=True)
class Example:
    """One of a query's examples: a file, a sound in memory, a span, or a class of the label bank.

    Attributes:
        name: path, text of the query, or class.
        seconds_used: how much of it was heard and is like the rest of it; 0 for a class.
        vector: mean latent embedding, shape (condition_dim,); None where nothing can be heard.
        profile: the classes that the detector hears in it, probabilities, shape (class,).
        weight: how much it counts beside the others of its query.
        reason: why it does not count; None where it does.
        warnings: what the user should know.
    """

    name: str
    seconds_used: float = 0.0
    vector: Tensor | None = None
    profile: Tensor | None = None
    weight: float = 1.0
    reason: str | None = None
    warnings: tuple[str, ...] = ()

    @property
    def used(self) -> bool:
        """Whether it counts."""
        return self.reason is None

    def without(self, reason: str) -> "Example":
        """Return the same example, not counted."""
        return replace(self, reason=reason)


@dataclass(frozen=True)
class Condition:
    """A query, ready for the separator.

    Attributes:
        query: what it was made from.
        vectors: shape (one or none, condition_dim): none where all examples were left out beside other queries'.
        profiles: the classes that the detector hears in the examples, probabilities, shape (one or none, class).
        examples: all of them, also those that do not count.
        warnings: what the user should know.
    """

    query: Query
    vectors: Float[Tensor, "one condition_dim"]
    profiles: Float[Tensor, "one class"]
    examples: tuple[Example, ...]
    warnings: tuple[str, ...] = ()

    @property
    def examples_used(self) -> int:
        """How many examples count."""
        return sum(example.used for example in self.examples)

    @property
    def seconds_used(self) -> float:
        """How much of them was heard."""
        return sum(example.seconds_used for example in self.examples if example.used)


def mean_condition(query: Query, examples: tuple[Example, ...], warnings: tuple[str, ...] = ()) -> Condition:
    """Average the examples that count, by their weights."""
    heard = [example for example in examples if example.vector is not None and example.profile is not None]
    chosen = [example for example in heard if example.used]
    vectors = torch.stack([example.vector for example in chosen or heard if example.vector is not None])
    profiles = torch.stack([example.profile for example in chosen or heard if example.profile is not None])
    if chosen:
        weights = vectors.new_tensor([example.weight for example in chosen])
        if (weights != 1).any():
            shares = (weights / weights.sum())[:, None]
            vectors, profiles = vectors * shares * len(chosen), profiles * shares * len(chosen)
        return Condition(query, vectors.mean(0, keepdim=True), profiles.mean(0, keepdim=True), examples, warnings)
    return Condition(query, vectors[:0], profiles[:0], examples, warnings)
