"""The ``held-out`` protocol: the paper's zero-shot test, on classes that training never saw."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from querysep.evaluation.protocol import Protocol, Row, Summary


class HeldOutProtocol(Protocol):
    """Mixture-SDR, clean-SDR and silence-SDR of classes kept out of training.

    Args:
        data: a data set of any layout.
        model: name of a bundled model, or a weights folder.
        mixtures: pairs of clips.
        seed: of the choice of pairs.
        device: auto, cpu, cuda or mps.
        classes: held-out classes; None: those of the data set, or the paper's ten for AudioSet.
    """

    name = "held-out"
    version = 1
    headline = "mixture_snr_db"

    def __init__(
        self,
        data: str | Path,
        model: str | Path = "default",
        *,
        mixtures: int = 200,
        seed: int = 0,
        device: str = "auto",
        classes: Sequence[str] | None = None,
    ) -> None:
        self._data, self._model, self._device = str(data), str(model), device
        self._mixtures, self._seed, self._classes = mixtures, seed, classes

    def settings(self) -> Mapping[str, object]:
        """Return what decides the figures."""
        return {"mixtures": self._mixtures, "seed": self._seed}

    def tasks(self) -> Sequence[str]:
        """Return a key for each pair."""
        return [f"pair/{index:04d}" for index in range(self._mixtures)]

    def measure(self, task: str) -> list[Row]:
        """Measure a pair."""
        raise NotImplementedError

    def summarise(self, rows: Sequence[Row]) -> list[Summary]:
        """Return the means."""
        raise NotImplementedError
