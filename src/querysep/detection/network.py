"""What every detector offers: what sounds when in a window, and what the window sounds like."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from querysep.detection.config import DetectorConfig


@dataclass(frozen=True)
class Detection:
    """What the detector says of a batch.

    Attributes:
        clipwise_logits: shape (batch, class), before the sigmoid: what a loss takes.
        framewise: the presence map, probabilities, shape (batch, class, frame).
        latent: the latent embedding, shape (batch, latent_dim).
    """

    clipwise_logits: Tensor
    framewise: Tensor
    latent: Tensor

    @property
    def clipwise(self) -> Tensor:
        """Probabilities of the classes in the whole input, shape (batch, class)."""
        return torch.sigmoid(self.clipwise_logits)


class DetectorNetwork(nn.Module, ABC):
    """Sound in; presence map, probabilities of the classes and latent embedding out."""

    config: DetectorConfig

    @abstractmethod
    def forward(self, wave: Float[Tensor, "batch time"]) -> Detection:
        """Detect.

        Args:
            wave: shape (batch, time), mono at config.sample_rate, at least config.n_fft samples and at most
                config.window_time (use ``detection.windows`` for any other length).
        """

    @abstractmethod
    def detect_together(self, waves: Sequence[Float[Tensor, " _"]]) -> Detection:
        """Detect in waves of different lengths, each as ``forward`` does alone.

        The maps of shorter waves may have frames at their end that mean nothing; ``sample_map`` does not read them.
        """

    @abstractmethod
    def sample_map(
        self, window_map: NDArray[np.float32], centres: NDArray[np.float64], time: int
    ) -> NDArray[np.float32]:
        """Read the presence map of one input at some places.

        Args:
            window_map: of an input of ``time`` samples, shape (class, frame).
            centres: places in the input, samples, shape (place,).
            time: samples.

        Returns:
            Shape (class, place).
        """
