"""The latent embedding processor: queries become conditions (Section 3.3 of the paper)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from querysep.errors import QueryError
from querysep.io.label_bank import LabelBank
from querysep.io.text_map import TextMap
from querysep.queries.bank import Bank
from querysep.queries.condition import Condition, Example, mean_condition
from querysep.queries.examples import Ear, hear_audio, hear_span
from querysep.queries.labels import LabelBook
from querysep.queries.outliers import outliers, scattered
from querysep.queries.query import Query
from querysep.queries.text import understand

UNLIKE = "unlike most of the other examples"
_MOST_WARNINGS = 3  # about the examples of one query
_SCATTERED = (
    "The examples of {what} are unlike each other, and their mean may stand for none of them. "
    "Ask for each on its own, or combine by max."
)


def resolve(
    queries: Sequence[Query],
    ear: Ear,
    bank: LabelBank | None = None,
    *,
    text_map: TextMap | None = None,
    own_bank: str | Path | None = None,
    together: bool = False,
) -> list[Condition]:
    """Turn queries into conditions.

    A condition is the mean over a query's examples of the mean over each example's segments. Examples that are unlike
    most of the others do not count. A label that stands for several classes gives their mean, which separates better
    than the largest of their masks (benchmarks/query_kinds.py).

    Args:
        queries: what the user wants.
        ear: what hears the examples.
        bank: of the model, for labels.
        text_map: of the model, for free words.
        own_bank: place of the user's bank; see ``Bank``.
        together: whether all queries are examples of one sound, to be compared with each other; else each is compared
            within itself.

    Raises:
        QueryError: no example can be used, a span lies outside the mixture, a name is not known, or the model knows no
            words.
        AudioError: the mixture cannot be read.
        DataError: the user's bank cannot be read.
        ConfigError: an extra is not installed.
        WeightsError: the model's text does not fit its label bank.
    """
    heard = [_hear(query, ear, bank, text_map, own_bank) for query in queries]
    by_example = [index for index, query in enumerate(queries) if query.kind in ("audio", "span", "bank")]
    groups = [by_example] if together else [[index] for index in by_example]
    told: dict[int, str] = {}
    for group in groups:
        kept, warning = _leave_out([heard[index] for index in group])
        for index, examples in zip(group, kept, strict=True):
            heard[index] = examples
        if warning is not None:
            told[group[0]] = warning
    conditions = []
    for index, (query, examples) in enumerate(zip(queries, heard, strict=True)):
        condition = mean_condition(query, examples)
        warnings = _first_few([warning for example in examples for warning in example.warnings])
        warnings += [told[index]] if index in told else []
        conditions.append(replace(condition, warnings=tuple(warnings)))
    return conditions


def _first_few(warnings: list[str]) -> list[str]:
    """Keep a query of hundreds of examples from flooding the user."""
    left_out = len(warnings) - _MOST_WARNINGS
    more = f"{left_out} more warnings like these about examples; the report lists every example."
    return warnings if left_out <= 0 else [*warnings[:_MOST_WARNINGS], more]


def _hear(
    query: Query, ear: Ear, bank: LabelBank | None, text_map: TextMap | None, own_bank: str | Path | None
) -> tuple[Example, ...]:
    match query.kind:
        case "audio":
            return tuple(hear_audio(query, ear))
        case "span":
            return (hear_span(query, ear),)
        case "label":
            return _look_up(query, bank, ear.device)
        case "text":
            return _read(query, bank, text_map, ear.device)
        case "bank":
            return tuple(Bank(own_bank).examples(query.argument, ear))


def _look_up(query: Query, bank: LabelBank | None, device: torch.device) -> tuple[Example, ...]:
    if bank is None:
        raise QueryError(
            f"'{query.text}': this model has no label bank. Add one with `querysep labels --build`, or give an example."
        )
    rows = LabelBook(bank).find(query.argument).rows
    return tuple(_class_example(bank, row, 1.0, device) for row in rows)


def _read(query: Query, bank: LabelBank | None, text_map: TextMap | None, device: torch.device) -> tuple[Example, ...]:
    """Give the classes that words mean; the first carries the warnings."""
    meaning = understand(query.argument, bank, text_map)
    assert bank is not None
    first, *others = [_class_example(bank, row, weight, device) for row, weight in meaning.classes]
    return (replace(first, warnings=meaning.warnings), *others)


def _class_example(bank: LabelBank, row: int, weight: float, device: torch.device) -> Example:
    vector, profile = bank.conditions[row].to(device), bank.profiles[row].to(device)
    return Example(bank.rows[row].label, vector=vector, profile=profile, weight=weight)


def _leave_out(queries: list[tuple[Example, ...]]) -> tuple[list[tuple[Example, ...]], str | None]:
    """Leave out what is unlike most of the others; return a warning if it is told that too many are."""
    heard = [example for examples in queries for example in examples if example.used]
    if not heard:
        return queries, None
    vectors = torch.stack([example.vector for example in heard if example.vector is not None]).cpu()
    unlike = outliers(vectors)
    left_out = {id(example) for example, one in zip(heard, unlike.tolist(), strict=True) if one}
    changed = [
        tuple(example.without(UNLIKE) if id(example) in left_out else example for example in examples)
        for examples in queries
    ]
    names = [example.name for example in heard if id(example) in left_out]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        return changed, (
            f"{len(names)} of {len(heard)} examples are {UNLIKE} and were left out: {', '.join(names[:3])}{more}."
        )
    if scattered(vectors):
        return changed, _SCATTERED.format(what="the sound" if len(heard) > 2 else f"'{heard[0].name}' and the other")
    return changed, None
