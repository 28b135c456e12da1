"""A training small enough for several processes: a line is fitted. Run with a folder and the number of steps."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from querysep.progress import silent
from querysep.training.config import TrainingConfig
from querysep.training.runner import QueryModule, run


class Line(QueryModule[nn.Linear]):
    """Squared error of a linear layer."""

    def batch_loss(self, batch: Any) -> Tensor:
        """Return the loss of (input, output)."""
        wave, wanted = batch
        return torch.nn.functional.mse_loss(self.network(wave), wanted)


class Points:
    """Points of a line, with noise."""

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return some points."""
        generators = [torch.Generator().manual_seed(index) for index in indices]
        points = torch.stack([torch.randn(3, generator=one) for one in generators])
        noise = torch.stack([torch.randn(1, generator=one) for one in generators])
        return points, points.sum(dim=1, keepdim=True) + 0.1 * noise


def train(folder: Path, steps: int) -> dict[str, Tensor]:
    """Train, and return the averaged weights."""
    torch.manual_seed(0)
    config = TrainingConfig(steps=steps, batch_size=4, warmup_steps=2, workers=0, precision="float32", minutes=5.0)
    return run(Line(nn.Linear(3, 1), config), Points(), folder, silent).state_dict()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    weights = train(Path(sys.argv[1]), int(sys.argv[2]))
    torch.save(weights, Path(sys.argv[1]) / "weights.pt")
