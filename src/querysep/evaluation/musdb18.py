"""The ``musdb18-paper`` and ``musdb18-sisec`` protocols: music taken apart into vocals, drums, bass and other."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from querysep.evaluation.protocol import Protocol, Row, Summary


class _Musdb18(Protocol):
    """What both protocols share: a task is a track of the test side, and each of its four stems gives a row.

    Args:
        model: name of a bundled model, or a weights folder; loaded when the first track is measured.
        data: the folder of MUSDB18 (``.stem.mp4``) or MUSDB18-HQ (WAV), with ``train`` and ``test`` in it.
        device: "auto", "cpu", "cuda" or "mps".
    """

    version = 1
    headline = "sdr_v4_db"

    def __init__(self, *, model: str | Path = "default", data: Path, device: str = "auto") -> None:
        self._name, self._data, self._device = model, data, device
        self.data_hash = ""

    def settings(self) -> Mapping[str, object]:
        """Return what else decides the figures."""
        raise NotImplementedError

    def tasks(self) -> Sequence[str]:
        """Return the names of the test tracks."""
        raise NotImplementedError

    def measure(self, task: str) -> list[Row]:
        """Separate a track and measure its four stems."""
        raise NotImplementedError

    def summarise(self, rows: Sequence[Row]) -> list[Summary]:
        """Return the medians over tracks, one summary for each stem."""
        raise NotImplementedError


class Musdb18Paper(_Musdb18):
    """The paper's protocol: mono, 32 kHz, chunks of 2 s."""

    name = "musdb18-paper"


class Musdb18Sisec(_Musdb18):
    """SiSEC 2018's protocol: stereo, 44.1 kHz, frames of 1 s."""

    name = "musdb18-sisec"
