"""Several processes, as torchrun starts them, train what one process trains."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from querysep.errors import ConfigError
from querysep.training.batches import Crowd, item_loader
from querysep.training.config import TrainingConfig

SCRIPT = Path(__file__).with_name("toy.py")


class Numbers:
    """Every item is its own number."""

    def batch(self, indices: Sequence[int]) -> torch.Tensor:
        """Return the numbers."""
        return torch.tensor(indices)


def test_processes_share_each_batch() -> None:
    config = TrainingConfig(steps=3, batch_size=4, workers=0)
    parts = [[batch.tolist() for batch in item_loader(Numbers(), 1, config, Crowd(rank, 2, 2))] for rank in range(2)]
    assert parts == [[[4, 5], [8, 9]], [[6, 7], [10, 11]]]
    with pytest.raises(ConfigError, match="multiple of 3"):
        item_loader(Numbers(), 0, config, Crowd(0, 3, 3))


def test_two_processes_end_where_one_does(tmp_path: Path) -> None:
    weights = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone"]
        command = command if processes > 1 else [sys.executable]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, str(SCRIPT), str(folder), "12"], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        weights.append(torch.load(folder / "weights.pt", weights_only=True))
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-5, rtol=0)
    assert not torch.equal(weights[0]["weight"], torch.zeros(1, 3))
