"""Which examples do not belong: found in small and large groups, and never more than half."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from querysep.queries.outliers import outliers, scattered


def group(count: int, direction: int, spread: float = 0.3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count + direction)
    centre = torch.zeros(1, 64)
    centre[0, direction] = 8.0
    return centre + spread * torch.randn(count, 64, generator=generator)


@pytest.mark.parametrize(("good", "bad"), [(2, 1), (3, 1), (6, 4), (350, 150), (251, 249), (1_600, 900)])
def test_the_few_that_are_unlike_are_found(good: int, bad: int) -> None:
    found = outliers(torch.cat((group(good, 0), group(bad, 1))))
    assert not found[:good].any()
    assert found[good:].all()


def test_of_two_and_of_halves_nobody_is_an_outlier() -> None:
    for count in (1, 2, 5):
        vectors = torch.cat((group(count, 0), group(count, 1)))
        assert not outliers(vectors).any()
        assert scattered(vectors)


def test_likes_stay_however_alike_the_others_are() -> None:
    vectors = torch.cat((group(1, 0, 0.0).expand(4, -1), group(1, 0, 0.2)))
    assert not outliers(vectors).any()
    assert not scattered(vectors)
    assert not scattered(vectors[:1])


def test_the_level_of_a_vector_says_nothing() -> None:
    vectors = group(5, 0) * torch.tensor([1.0, 0.01, 100.0, 1.0, 5.0])[:, None]
    assert not outliers(vectors).any()


@settings(max_examples=60)
@given(count=st.integers(1, 40), dim=st.integers(1, 6), power=st.integers(1, 5), seed=st.integers(0, 99))
def test_never_more_than_half(count: int, dim: int, power: int, seed: int) -> None:
    vectors = torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) ** power
    found = outliers(vectors)
    assert found.sum() <= count // 2
