"""One pass over a mixture: separated and listened to at the same time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from querysep.model import Model
from querysep.pipeline.detector import Listener, presence_score
from querysep.pipeline.wishes import Wishes
from querysep.separation.long_file import separate_blocks
from querysep.types import FloatArray

_SILENT_PEAK = 1e-5  # -100 dBFS


@dataclass(frozen=True)
class Piece:
    """A stretch of the mixture and what was separated from it.

    Attributes:
        mixture: shape (channel, time).
        targets: shape (target, channel, time): one for each query with "each", else one.
    """

    mixture: FloatArray
    targets: FloatArray


class OnePass:
    """Separate a mixture that arrives in blocks, and learn how present the queries are.

    Args:
        model: a loaded model.
        wishes: what is asked for.
        sample_rate: of the mixture, in Hz.
        per_channel: estimate a mask for each channel.
        listen: build the presence map that `presences` needs; it grows with the duration, a little.

    Attributes:
        samples: samples a channel seen so far.
        peak: largest absolute sample so far.
    """

    def __init__(
        self, model: Model, wishes: Wishes, sample_rate: int, *, per_channel: bool, listen: bool = True
    ) -> None:
        self._model, self._rate = model, sample_rate
        self._wishes, self._per_channel = wishes, per_channel
        self._listener = Listener(model, sample_rate) if listen else None
        self._waiting: list[FloatArray] = []
        self.samples = 0
        self.peak = 0.0

    @property
    def is_silent(self) -> bool:
        """Whether nothing above -100 dBFS was seen."""
        return self.peak < _SILENT_PEAK

    def run(self, blocks: Iterable[FloatArray]) -> Iterator[Piece]:
        """Separate all blocks.

        Args:
            blocks: shape (channel, time) each.

        Yields:
            Pieces in order; together as long as the mixture.

        Raises:
            AudioError: the mixture cannot be used.
        """
        vectors, rule = self._wishes.arranged()
        targets = separate_blocks(
            self._model.separator, vectors, self._watch(blocks), self._rate, rule=rule, per_channel=self._per_channel
        )
        for target in targets:
            yield Piece(self._take(target.shape[-1]), target)

    def _watch(self, blocks: Iterable[FloatArray]) -> Iterator[FloatArray]:
        for block in blocks:
            self.samples += block.shape[1]
            self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
            if self._listener is not None:
                self._listener.push(block)
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

    def presences(self) -> tuple[list[float], list[float]]:
        """Give the presence score of each wanted and each unwanted query; 0 for one whose examples were all left out.

        Call it once, after the last piece, if it listened.
        """
        if self._listener is None:
            raise ValueError("this pass did not listen")
        presence = self._listener.finish()
        wanted, unwanted = (
            [
                max((presence_score(one, presence) for one in condition.profiles), default=0.0)
                for condition in conditions
            ]
            for conditions in (self._wishes.wanted, self._wishes.unwanted)
        )
        return wanted, unwanted
