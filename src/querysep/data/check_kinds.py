"""What can be wrong with a data set, in words."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "unreadable",
    "missing",
    "leak",
    "origin in two splits",
    "silent",
    "one-clip class",
    "no training clips",
    "few clips",
    "not tested",
    "one origin",
    "clipped",
    "too short",
    "shorter than stated",
    "duplicate",
    "mislabelled-looking",
    "unlabelled",
    "row",
    "repeated",
    "no licence",
]


@dataclass(frozen=True)
class KindNote:
    """What a kind of finding means.

    Attributes:
        hurts: training or its evaluation is spoilt by it, so ``--strict`` fails.
        meaning: in a few words.
        advice: what to do.
    """

    hurts: bool
    meaning: str
    advice: str


KINDS: dict[Kind, KindNote] = {
    "unreadable": KindNote(True, "the file cannot be decoded", "download or convert it again, or take its row out"),
    "leak": KindNote(True, "the same recording in two splits", "put all copies into one split, or keep one copy"),
    "origin in two splits": KindNote(True, "one origin on two sides", "split by origin, not by file"),
    "silent": KindNote(True, "nothing to hear", "take it out"),
    "one-clip class": KindNote(True, "a class with a single clip", "find more clips, or merge it with its parent"),
    "no training clips": KindNote(True, "tested, never trained", "move clips to train, or mark them held out"),
    "missing": KindNote(False, "named in the list, not on the disk", "fetch the file, or leave it: it is not used"),
    "few clips": KindNote(False, "a class with few training clips", "find more, or merge it with its parent"),
    "not tested": KindNote(False, "a class without test clips", "move clips of another origin to test"),
    "one origin": KindNote(False, "all clips of a class in a split from one origin", "find clips from elsewhere"),
    "clipped": KindNote(False, "flat tops: recorded too loud", "find a better copy, or take it out"),
    "too short": KindNote(False, "too short to learn from", "take it out, or repeat it to a texture"),
    "shorter than stated": KindNote(False, "less sound than the list says", "download it again, or mend the list"),
    "duplicate": KindNote(False, "the same recording twice in one split", "keep one copy"),
    "mislabelled-looking": KindNote(False, "sounds like another class", "listen, then mend the label or take it out"),
    "unlabelled": KindNote(False, "sound without a label", "label it, or leave it: it is not used"),
    "row": KindNote(False, "a row that makes no sense", "mend the row; it is not used"),
    "repeated": KindNote(False, "a row that was there before", "nothing: it is used once"),
    "no licence": KindNote(False, "nobody says under which licence", "find out before you share weights"),
}
"""All kinds, those that hurt most first."""


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        path: of the file, with ``[row]`` for a pack; or the class, for what concerns a class.
        kind: what it is.
        detail: the facts, in a sentence.
        weight: how bad it is among findings of its kind; the worst are shown.
    """

    path: str
    kind: Kind
    detail: str
    weight: float = 0.0
