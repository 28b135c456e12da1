"""What is soft counts in the compressed error, whatever the level, and steers the training."""

import pytest
import torch
from given import given

from querysep.separation.build import build_separator
from querysep.separation.config import CompactConfig
from querysep.training.config import SeparatorTraining
from querysep.training.separator import Answers, SeparatorModule, compressed_error


def _error(mask: torch.Tensor, level: float = 1.0) -> float:
    """Return the error of a mask for a target that is half of the mixture: loud below, soft above."""
    mixture = torch.full((1, 1, 10, 6), level, dtype=torch.complex64)
    mixture[:, :, 5:] *= 1e-2
    answers = Answers(mask, mixture, 0.5 * mixture.expand(1, 2, -1, -1), torch.ones(1, 2), CompactConfig())
    return float(compressed_error(answers))


def test_the_right_mask_has_no_error_and_the_level_does_not_matter() -> None:
    half, none = torch.full((1, 2, 10, 6), 0.5), torch.zeros(1, 2, 10, 6)
    assert _error(half) == pytest.approx(0.0, abs=1e-9)
    power = torch.tensor([1.0, 1e-4])
    assert _error(none) == pytest.approx(float((0.25 * power / power.mean()).pow(0.3).mean()), rel=0.1)
    assert _error(none, level=1e-2) == pytest.approx(_error(none), rel=1e-4)


def test_what_is_soft_counts_more_than_its_energy() -> None:
    errors = []
    for part in (slice(0, 5), slice(5, 10)):  # nothing of the loud part, nothing of the soft part
        mask = torch.full((1, 2, 10, 6), 0.5)
        mask[:, :, part] = 0.0
        errors.append(_error(mask))
    assert errors[0] / 25 < errors[1] < errors[0]  # in energy it would be a ten thousandth


def test_silence_has_a_gradient_and_a_weight_of_zero_leaves_the_loss_alone() -> None:
    torch.manual_seed(0)
    shape = CompactConfig(hop=512, channels=(8, 16), condition_dim=8, condition_hidden=16)
    network = build_separator(shape)
    batch = given(0.1 * torch.randn(2, 2, 16_000), torch.randn(2, 2, 8), torch.tensor([[1.0, 0.0]] * 2))
    plain, compressed = (
        SeparatorModule(network, SeparatorTraining(compressed_weight=weight)).batch_loss(batch)
        for weight in (0.0, 20.0)
    )
    assert compressed.item() > plain.item() + 0.1
    compressed.backward()
    assert all(torch.isfinite(one.grad).all() for one in network.parameters() if one.grad is not None)


def test_the_papers_loss_is_the_mean_absolute_error_of_the_waveform() -> None:
    torch.manual_seed(0)
    network = build_separator(CompactConfig(hop=512, channels=(8, 16), condition_dim=8, condition_hidden=16)).eval()
    segments, conditions = 0.1 * torch.randn(2, 2, 16_384), torch.randn(2, 2, 8)
    wanted = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    module = SeparatorModule(network, SeparatorTraining(loss="absolute")).eval()
    mixture = segments.sum(dim=1)
    with torch.no_grad():
        loss = module.batch_loss(given(segments, conditions, wanted))
        estimates = network(mixture[:, None].repeat_interleave(2, dim=0), conditions.flatten(0, 1))[:, 0]
    errors = (estimates - (segments * wanted[:, :, None]).flatten(0, 1)).abs().mean(dim=1)
    level = mixture.abs().mean(dim=1).repeat_interleave(2)
    assert float(loss) == pytest.approx(20.0 * float((errors / level).mean()), rel=1e-3)


def test_a_loss_of_ones_own_is_used() -> None:
    network = build_separator(CompactConfig(hop=512, channels=(8, 16), condition_dim=8, condition_hidden=16))
    module = SeparatorModule(network, SeparatorTraining(), loss=lambda answers, _: 7.0 + 0.0 * answers.mask.sum())
    batch = given(torch.randn(1, 2, 16_000), torch.randn(1, 2, 8), torch.ones(1, 2))
    assert module.batch_loss(batch).item() == 7.0
