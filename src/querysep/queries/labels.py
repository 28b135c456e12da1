"""Classes by name: spellings, synonyms, parents, and what comes close."""

import csv
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from querysep.data.ontology import Ontology, audioset
from querysep.errors import QueryError
from querysep.io.label_bank import LabelBank


@dataclass(frozen=True)
class Found:
    """What a name means.

    Attributes:
        label: the class, as the bank or the ontology writes it.
        rows: of the bank: its own; of a class without examples of its own, those of the classes that are kinds of it.
    """

    label: str
    rows: tuple[int, ...]


class LabelBook:
    """The classes of a bank and their parents, by every name that people may use.

    Args:
        bank: of a model.
        ontology: knows parents and names beside those of the bank.
    """

    def __init__(self, bank: LabelBank, ontology: Ontology | None = None) -> None:
        self._bank = bank
        self._ontology = audioset() if ontology is None else ontology
        labels = [row.label for row in bank.rows]
        self._ancestors = {row.label: self._above(row.label, row.ancestors) for row in bank.rows}
        parents = sorted({parent for above in self._ancestors.values() for parent in above} - set(labels))
        self._label_of: dict[str, str] = {}
        for group in (labels, parents, self._ontology.names):
            for label in group:
                self._label_of.setdefault(_key(label), label)
            for label in group:
                for part in name_parts(label):
                    self._label_of.setdefault(_key(part), label)
        self._offered = (*labels, *parents)

    def _above(self, label: str, told: Iterable[str]) -> tuple[str, ...]:
        known = self._ontology.ancestors(label) if label in self._ontology else frozenset()
        nearest_first = sorted(known.difference(told), key=lambda one: (-len(self._ontology.ancestors(one)), one))
        return (*told, *nearest_first)

    def find(self, name: str) -> Found:
        """Look a name up: any spelling, one of its synonyms, or a parent.

        Raises:
            QueryError: nobody knows it, or the bank has no examples of it; offers what comes close.
        """
        key = _key(name)
        meant = (self._label_of.get(key), self._label_of.get(_key(everyday_words().get(key, ""))))
        labels = [label for label in meant if label is not None]
        if not labels:
            raise QueryError(f"'{name.strip()}' is not a known label.{self._close(key)} See `querysep labels`.")
        label = next((label for label in labels if self._rows(label)), labels[0])
        rows = self._rows(label)
        if not rows:
            raise QueryError(
                f"'{label}' is not among the labels that this model has examples of.{self._kin(label)} "
                "See `querysep labels`, or give an example of the sound."
            )
        return Found(label, rows)

    def parents(self) -> Iterator[Found]:
        """Give the classes that the bank has kinds of, and no examples of their own."""
        for label in self._offered[len(self._bank.rows) :]:
            yield Found(label, self._rows(label))

    def ancestors(self, label: str) -> tuple[str, ...]:
        """Return what a class of the bank is a kind of."""
        return self._ancestors[label]

    def _rows(self, label: str) -> tuple[int, ...]:
        rows = self._bank.rows
        own = tuple(index for index, row in enumerate(rows) if row.label == label)
        return own or tuple(index for index, row in enumerate(rows) if label in self._ancestors[row.label])

    def _close(self, key: str) -> str:
        """Offer labels that are spelt alike or hold the word."""
        spellings = {_key(part): label for label in self._offered for part in (label, *name_parts(label))}
        spellings |= {word: self._label_of.get(_key(label), "") for word, label in everyday_words().items()}
        words = [word for word in spellings if len(key) > 2 and (key in word.split() or set(key.split()) & {word})]
        words += difflib.get_close_matches(key, spellings, 3, 0.65)
        labels = list(dict.fromkeys(spellings[word] for word in words if self._offers(spellings[word])))
        return _offer(labels[:3])

    def _offers(self, label: str) -> bool:
        return label in self._offered

    def _kin(self, label: str) -> str:
        """Offer the nearest parents that the bank has kinds of."""
        layer = [label] if label in self._ontology else []
        while layer:
            layer = list(dict.fromkeys(parent for one in layer for parent in self._ontology.parents(one)))
            if near := [parent for parent in layer if self._rows(parent)]:
                return _offer(near[:3])
        return ""


def _offer(labels: list[str]) -> str:
    return f" Closest: {', '.join(repr(label) for label in labels)}." if labels else ""


def name_parts(label: str) -> list[str]:
    """Return each of the names in one: AudioSet names a class by its synonyms, as in 'Whoosh, swoosh, swish'."""
    parts = [part.strip() for part in re.sub(r"\(.*?\)", "", label).split(",")]
    return [part for part in parts if part and part != "etc."]


def _key(name: str) -> str:
    """Forget case, hyphens, articles and the plural."""
    words = re.sub(r"[\s_-]+", " ", name.casefold()).strip()
    words = re.sub(r"^(an?|the) ", "", words)
    return re.sub(r"(?<=[^\W\d_]{3})(?<!s)s$", "", words)


@cache
def everyday_words() -> dict[str, str]:
    """Return everyday words and the class that each means."""
    text = files("querysep").joinpath("assets", "synonyms.csv").read_text(encoding="utf-8")
    return {_key(row["word"]): row["label"] for row in csv.DictReader(text.splitlines())}
