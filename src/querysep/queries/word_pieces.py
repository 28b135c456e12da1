"""Words to the numbers that BERT's networks take: lower case, no accents, and the longest pieces of its vocabulary."""

import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

_LONGEST_WORD = 100  # characters; longer ones are unknown
_ASCII_MARKS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def piece_numbers(text: str, longest: int = 128) -> list[int]:
    """Return the numbers of a text's pieces, between those that mark its start and end.

    Args:
        text: any; what the vocabulary cannot spell becomes the piece for unknown words.
        longest: pieces at most, the two marks included.
    """
    vocabulary = _vocabulary()
    numbers = [vocabulary[piece] for word in _words(text) for piece in _pieces(word, vocabulary)]
    return [vocabulary["[CLS]"], *numbers[: longest - 2], vocabulary["[SEP]"]]


@cache
def _vocabulary() -> dict[str, int]:
    text = files("querysep").joinpath("assets", "text", "vocab.txt").read_text(encoding="utf-8")
    return {piece: number for number, piece in enumerate(text.split("\n"))}


def _words(text: str) -> Iterator[str]:
    """Cut a text at spaces, around marks and around ideographs."""
    plain = unicodedata.normalize("NFD", "".join(_cleaned(text)).lower())
    word = ""
    for character in plain:
        if unicodedata.category(character) == "Mn":
            continue
        if character.isspace() or _is_mark(character) or _is_ideograph(character):
            if word:
                yield word
            word = ""
            if not character.isspace():
                yield character
        else:
            word += character
    if word:
        yield word


def _cleaned(text: str) -> Iterator[str]:
    for character in text:
        if character in "\t\n\r":
            yield " "
        elif character not in "\0\ufffd" and unicodedata.category(character) not in ("Cc", "Cf", "Co"):
            yield " " if unicodedata.category(character) == "Zs" else character


def _is_mark(character: str) -> bool:
    return character in _ASCII_MARKS or unicodedata.category(character).startswith("P")


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)


def _pieces(word: str, vocabulary: dict[str, int]) -> list[str]:
    """Cut a word into the longest pieces that the vocabulary has, from its start on."""
    if len(word) > _LONGEST_WORD:
        return ["[UNK]"]
    pieces: list[str] = []
    start = 0
    while start < len(word):
        prefix = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if prefix + word[start:end] in vocabulary), None)
        if end is None:
            return ["[UNK]"]
        pieces.append(prefix + word[start:end])
        start = end
    return pieces
