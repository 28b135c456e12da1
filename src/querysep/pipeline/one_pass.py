"""One pass over a mixture that arrives in blocks: each stretch of it beside what was separated from it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from querysep.dsp.level import SILENT
from querysep.separation.long_file import separate_blocks
from querysep.separation.mask_rule import MaskRule
from querysep.separation.mask_stream import Gate
from querysep.separation.network import SeparatorNetwork
from querysep.types import FloatArray

_LOWEST_HZ = 20.0  # what lies below, as DC, nobody hears: it stays in the residual


@dataclass(frozen=True)
class Piece:
    """A stretch of the mixture and what was separated from it.

    Attributes:
        mixture: shape (channel, time).
        targets: shape (target, channel, time).
    """

    mixture: FloatArray
    targets: FloatArray


class OnePass:
    """Separate a mixture that arrives in blocks.

    Args:
        network: the separator, in evaluation mode.
        vectors: conditions, on the network's device.
        rule: how their masks become those of the targets.
        sample_rate: of the mixture, in Hz.
        per_channel: estimate a mask for each channel.
        gate: how much of each condition's mask counts.

    Attributes:
        samples: samples a channel seen so far.
        peak: largest absolute sample so far.
    """

    def __init__(
        self,
        network: SeparatorNetwork,
        vectors: Float[Tensor, "condition condition_dim"],
        rule: MaskRule,
        sample_rate: int,
        *,
        per_channel: bool = False,
        gate: Gate | None = None,
    ) -> None:
        self._network, self._vectors, self._rule = network, vectors, rule
        self._rate, self._per_channel, self._gate = sample_rate, per_channel, gate
        self._waiting: list[FloatArray] = []
        self.samples = 0
        self.peak = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether nothing above -90 dBFS was seen."""
        return self.peak < SILENT

    def run(self, blocks: Iterable[FloatArray]) -> Iterator[Piece]:
        """Separate all blocks.

        Args:
            blocks: shape (channel, time) each.

        Yields:
            Pieces in order; together as long as the mixture.

        Raises:
            AudioError: the mixture cannot be used.
        """
        targets = separate_blocks(
            self._network,
            self._vectors,
            self._watch(blocks),
            self._rate,
            rule=self._rule,
            per_channel=self._per_channel,
            gate=self._gate,
            lowest_hz=_LOWEST_HZ,
        )
        for target in targets:
            yield Piece(self._take(target.shape[-1]), target)

    def _watch(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        for block in blocks:
            self.samples += block.shape[1]
            self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
            self._waiting.append(block)
            yield block

    def _take(self, time: int) -> FloatArray:
        """Give the next samples of the mixture."""
        taken = []
        while time:
            first = self._waiting.pop(0)
            taken.append(first[:, :time])
            if first.shape[1] > time:
                self._waiting.insert(0, first[:, time:])
            time -= taken[-1].shape[1]
        return np.concatenate(taken, axis=1)
