"""What the separator's training counts beside the energy of the error."""

import pytest
import torch

from querysep.separation.build import build_separator
from querysep.separation.config import SeparatorConfig
from querysep.training.config import SeparatorTraining
from querysep.training.losses import compressed_error, worse_than_mixture
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


def test_only_answers_that_are_worse_than_the_mixture_count_by_as_many_db() -> None:
    rest = torch.full((4,), 0.5)
    error = rest * torch.tensor([10.0**0.6, 10.0**0.2, 1.0, 0.01])  # 6 dB and 2 dB worse, as bad, better
    assert float(worse_than_mixture(error, rest)) == pytest.approx(2.0, abs=1e-4)
    assert float(worse_than_mixture(torch.tensor([0.5]), torch.tensor([0.0]))) == 0.0  # a sound alone


def test_silence_is_worse_than_the_mixture_where_the_target_is_the_louder() -> None:
    torch.manual_seed(0)
    shape = SeparatorConfig(hop=512, channels=(8, 16), condition_dim=8, condition_hidden=16)
    network = build_separator(shape).eval()
    network.after_conv.weight.data.zero_()
    network.after_conv.bias.data.fill_(-30.0)  # silence, whatever is asked
    segments = 0.1 * torch.randn(1, 2, 16_000)
    segments[:, 0] *= 2.0
    batch = (segments, torch.randn(1, 2, 8), torch.ones(1, 2), torch.zeros(1, 4))
    plain, strict = (
        SeparatorModule(network, SeparatorTraining(worse_weight=weight)).batch_loss(batch).item()
        for weight in (0.0, 1.0)
    )
    assert strict - plain == pytest.approx(3.0, abs=0.2)  # 6 dB for the one, nothing for the other
