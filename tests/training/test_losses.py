"""What is soft counts in the compressed error, whatever the level, and steers the training."""

import pytest
import torch

from querysep.separation.build import build_separator
from querysep.separation.config import SeparatorConfig
from querysep.training.config import SeparatorTraining
from querysep.training.losses import compressed_error
from querysep.training.separator import SeparatorModule


def _sounds() -> tuple[torch.Tensor, torch.Tensor]:
    """Return powers of a mixture and of a target that is half of it in amplitude: loud below, soft above."""
    power = torch.ones(1, 1, 10, 6)
    power[:, :, 5:] = 1e-4
    return power, 0.25 * power.expand(1, 2, -1, -1)


def test_the_right_mask_has_no_error_and_the_level_does_not_matter() -> None:
    power, wanted = _sounds()
    half, none = torch.full((1, 2, 10, 6), 0.5), torch.zeros(1, 2, 10, 6)
    assert float(compressed_error(half, power, wanted)) == pytest.approx(0.0, abs=1e-9)
    error = float(compressed_error(none, power, wanted))
    relative = power / power.mean()
    assert error == pytest.approx(float((0.25 * relative).pow(0.3).mean()), rel=0.1)  # (0.5 sqrt(relative)) ** 0.6
    assert float(compressed_error(none, 1e-4 * power, 1e-4 * wanted)) == pytest.approx(error, rel=1e-4)


def test_what_is_soft_counts_more_than_its_energy() -> None:
    power, wanted = _sounds()
    errors = []
    for part in (slice(0, 5), slice(5, 10)):  # nothing of the loud part, nothing of the soft part
        mask = torch.full((1, 2, 10, 6), 0.5)
        mask[:, :, part] = 0.0
        errors.append(float(compressed_error(mask, power, wanted)))
    assert errors[0] / 25 < errors[1] < errors[0]  # in energy it would be a ten thousandth


def test_silence_has_a_gradient_and_a_weight_of_zero_leaves_the_loss_alone() -> None:
    torch.manual_seed(0)
    shape = SeparatorConfig(hop=512, channels=(8, 16), condition_dim=8, condition_hidden=16)
    network = build_separator(shape)
    batch = (0.1 * torch.randn(2, 2, 16_000), torch.randn(2, 2, 8), torch.tensor([[1.0, 0.0]] * 2), torch.zeros(2, 4))
    plain, compressed = (
        SeparatorModule(network, SeparatorTraining(compressed_weight=weight)).batch_loss(batch)
        for weight in (0.0, 20.0)
    )
    assert compressed.item() > plain.item() + 0.1
    compressed.backward()
    assert all(torch.isfinite(one.grad).all() for one in network.parameters() if one.grad is not None)
