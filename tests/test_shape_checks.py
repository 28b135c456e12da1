"""Whether tests really run with shape checks."""

import pytest
import torch
from jaxtyping import TypeCheckError

from querysep.detection.windows import embed, lengthen


def test_a_lost_axis_is_caught() -> None:
    assert lengthen(torch.ones(1, 4), 8).shape == (1, 8)
    with pytest.raises(TypeCheckError, match="wave"):
        lengthen(torch.ones(4), 8)


def test_integer_audio_is_caught() -> None:
    with pytest.raises(TypeCheckError, match="segments"):
        embed(torch.nn.Identity(), torch.ones(1, 4, dtype=torch.int64))  # type: ignore[arg-type]
