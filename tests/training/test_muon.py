"""The optimizer whose steps are orthogonal."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from querysep.training.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(6, 40), (40, 6), (16, 16)])
def test_the_singular_values_come_near_one_and_the_directions_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) * 1e-3
    turned = orthogonal(matrix)
    values = torch.linalg.svdvals(turned)
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert float(functional.cosine_similarity(turned.flatten(), (left @ right).flatten(), dim=0)) > 0.95
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_a_step_of_a_kernel_is_as_long_as_said_and_decays_it() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 8, 3)
    before = copy.deepcopy(layer)
    optimizer = Muon(layer.parameters(), lr=0.01, weight_decay=0.5)
    layer(torch.randn(2, 4, 9, 9)).square().mean().backward()
    optimizer.step()
    moved = (layer.weight - before.weight * (1.0 - 0.01 * 0.5)).detach()
    rms = float(moved.square().mean().sqrt())
    assert rms == pytest.approx(0.01 * 0.2 * math.sqrt(36 / 36), rel=0.2)  # 8 of 8 directions, 36 columns
    assert layer.bias is not None and before.bias is not None
    torch.testing.assert_close((layer.bias - before.bias).detach().abs(), torch.full((8,), 0.01), rtol=1e-3, atol=0)


def test_a_step_goes_where_momentum_and_gradient_will_be() -> None:
    """Nesterov's rule, written out: 0.95 of the momentum that holds the new gradient, and 0.05 of that gradient."""
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(4, 2, 3, 3))
    expected = kernel.detach().clone()
    optimizer = Muon([kernel], lr=0.01, weight_decay=0.0)
    first, second = torch.randn(2, 4, 2, 3, 3)
    momentum = 0.05 * first
    later = 0.95 * momentum + 0.05 * second
    directions = (0.95 * momentum + 0.05 * first, 0.95 * later + 0.05 * second)
    for gradient, direction in zip((first, second), directions, strict=True):
        kernel.grad = gradient
        optimizer.step()
        expected -= 0.01 * 0.2 * math.sqrt(18) * orthogonal(direction.reshape(4, 18)).reshape(4, 2, 3, 3)
        torch.testing.assert_close(kernel.detach(), expected, rtol=0, atol=1e-6)


def test_biases_move_as_with_adam() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.ones(5)), nn.Parameter(torch.ones(5))
    one, other = Muon([ours], lr=0.01, weight_decay=0.3), torch.optim.Adam([theirs], lr=0.01)
    for _ in range(5):
        gradient = torch.randn(5)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        one.step()
        other.step()
    torch.testing.assert_close(ours, theirs)


def test_it_goes_on_from_its_state() -> None:
    torch.manual_seed(0)
    whole, image = nn.Conv2d(2, 3, 3), torch.randn(1, 2, 8, 8)
    optimizer = Muon(whole.parameters(), lr=0.01, weight_decay=0.0)

    def step(layer: nn.Module, by: Muon) -> None:
        by.zero_grad()
        layer(image).square().mean().backward()
        by.step()

    step(whole, optimizer)
    resumed = copy.deepcopy(whole)
    again = Muon(resumed.parameters(), lr=0.01, weight_decay=0.0)
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    step(whole, optimizer)
    step(resumed, again)
    assert torch.equal(whole.weight, resumed.weight)
