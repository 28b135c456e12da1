"""Words become the same numbers as by the tokenizer that the network was trained with (tokenizers 0.23.3)."""

import pytest

from querysep.queries.word_pieces import piece_numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("A dog barking, far away!", [1037, 3899, 19372, 1010, 2521, 2185, 999]),
        ("naïve Café-Müller's", [15743, 7668, 1011, 12304, 1005, 1055]),
        ("glockenspiel", [1043, 7878, 6132, 14756, 2140]),
        ("\tzwölf\xa0Boxkämpfer\u200b \x00x", [1062, 12155, 10270, 3482, 27052, 14376, 2121, 1060]),
        ("雨の音", [100, 1671, 100]),
        ("🐕 woof", [100, 15854, 2546]),
        ("x" * 101, [100]),
        ("", []),
    ],
)
def test_numbers(text: str, numbers: list[int]) -> None:
    assert piece_numbers(text) == [101, *numbers, 102]


def test_a_long_text_is_cut() -> None:
    numbers = piece_numbers("dog " * 300)
    assert len(numbers) == 128 and numbers[-1] == 102
