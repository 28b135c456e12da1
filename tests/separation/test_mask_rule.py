"""How masks become targets: alternatives by the largest, and what is unwanted competes."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from querysep.separation.mask_rule import MaskRule


def masks(*values: float) -> torch.Tensor:
    return torch.tensor(values)[None, :, None, None, None].expand(2, -1, 1, 3, 4)


def test_alternatives() -> None:
    given_masks = masks(0.2, 0.7, 0.4)
    assert torch.equal(MaskRule.each(3)(given_masks), given_masks)
    assert torch.equal(MaskRule.largest(3)(given_masks), given_masks[:, 1:2])
    grouped = MaskRule(((2,), (0, 1)))(given_masks)
    assert torch.equal(grouped, given_masks[:, [2, 1]])
    assert torch.equal(MaskRule(((1,), (0,)))(given_masks), given_masks[:, [1, 0]])


def test_what_nobody_claims_against_it_stays_with_the_target() -> None:
    kept = MaskRule(((0,), (1,)), (2,))(masks(0.8, 0.3, 0.0))
    torch.testing.assert_close(kept, masks(0.8, 0.3))
    assert MaskRule(((0,),), (1, 2))(masks(0.0, 0.5, 0.0)).max() == 0


@given(wanted=st.floats(0, 1), unwanted=st.floats(0, 1), more=st.floats(0, 1))
def test_the_more_is_unwanted_the_less_is_left(wanted: float, unwanted: float, more: float) -> None:
    def left(*others: float) -> float:
        rule = MaskRule(((0,),), tuple(range(1, 1 + len(others))))
        return float(rule(masks(wanted, *others)).max())

    assert 0 <= left(unwanted) <= wanted + 1e-6
    assert left(min(1.0, unwanted + more)) <= left(unwanted) + 1e-6
    assert abs(left(unwanted, more) - left(max(unwanted, more))) < 1e-6


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_targets_that_share_take_in_turn_what_is_left(values: list[float]) -> None:
    rule = MaskRule(tuple((index,) for index in range(len(values))), shared=True)
    shares = rule(masks(*values))[0, :, 0, 0, 0].tolist()
    left = 1.0
    for value, share in zip(values, shares, strict=True):
        assert abs(share - min(value, left)) < 1e-5
        left = max(0.0, left - value)
    assert sum(shares) <= 1.0 + 1e-5
    assert min(shares) >= 0.0
