"""Both trainings can learn at all, and the query decides what comes out."""

from collections.abc import Sequence

import pytest
import torch
from given import given
from torch import Tensor

from querysep.separation.build import build_separator
from querysep.separation.config import CompactConfig
from querysep.training.batches import item_loader
from querysep.training.config import SeparatorTraining
from querysep.training.runner import QueryModule
from querysep.training.separator import SeparatorModule


def test_one_mixture_two_conditions_two_targets() -> None:
    torch.manual_seed(0)
    config = CompactConfig(hop=512, channels=(16, 24, 32), condition_dim=8, condition_hidden=32)
    time = torch.arange(16_384) / 32_000
    silence = torch.zeros(len(time))
    tones = [sum((torch.sin(2 * torch.pi * f * k * time) / k for k in (1, 2, 3)), silence) for f in (440.0, 3_100.0)]
    targets = torch.stack([tone / tone.std() * 0.1 for tone in tones])
    conditions = torch.eye(8)[:2]
    network = build_separator(config)
    module = SeparatorModule(network, SeparatorTraining())
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        module.batch_loss(given(targets[None], conditions[None], torch.ones(1, 2))).backward()
        optimizer.step()
    network.eval()
    mixture = targets.sum(dim=0).expand(2, 1, -1)
    with torch.inference_mode():
        error = (network(mixture, conditions)[:, 0] - targets).square().sum(-1)
    assert (10 * torch.log10(targets.square().sum(-1) / error)).min() > 15  # dB; the mixture scores 0


def test_silence_is_the_answer_to_an_absent_query() -> None:
    torch.manual_seed(0)
    network = build_separator(CompactConfig(channels=(8, 16), condition_dim=4, condition_hidden=8))
    module = SeparatorModule(network, SeparatorTraining())
    segments, conditions = torch.randn(2, 2, 16_000) * 0.1, torch.randn(2, 2, 4)
    with torch.no_grad():
        assert isinstance(network.after_conv, torch.nn.Conv2d) and network.after_conv.bias is not None
        network.after_conv.bias.fill_(-20.0)
        network.after_conv.weight.zero_()
        silent = module.batch_loss(given(segments, conditions, torch.zeros(2, 2)))
        wrong = module.batch_loss(given(segments, conditions, torch.ones(2, 2)))
    assert silent < -20 < -6 < wrong


class _Numbers:
    def batch(self, indices: Sequence[int]) -> Tensor:
        return torch.tensor(indices)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
@pytest.mark.parametrize("workers", [0, 1, 2])
def test_items_come_in_order_from_any_number_of_workers(workers: int) -> None:
    training = SeparatorTraining(steps=7, batch_size=3, workers=workers)
    got = [batch.tolist() for batch in item_loader(_Numbers(), 2, training)]
    assert got == [[3 * step, 3 * step + 1, 3 * step + 2] for step in range(2, 7)]


def test_the_average_forgets_the_random_start() -> None:
    network = torch.nn.BatchNorm1d(3)
    assert network.num_batches_tracked is not None
    module: QueryModule[torch.nn.BatchNorm1d] = QueryModule(network, SeparatorTraining(ema_decay=0.999))
    network.weight.data.fill_(100.0)  # the start
    module.averaged.update(network)
    for _ in range(50):
        network.weight.data.fill_(1.0)
        network.num_batches_tracked += 1
        module.averaged.update(network)
    averaged = module.averaged.module
    assert isinstance(averaged, torch.nn.BatchNorm1d) and averaged.num_batches_tracked is not None
    assert float(averaged.weight.detach().max()) < 1.01
    assert int(averaged.num_batches_tracked) == int(network.num_batches_tracked)
