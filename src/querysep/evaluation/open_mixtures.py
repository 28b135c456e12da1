"""Test mixtures of the open sound set: two classes at equal energy, a query from another recording for each."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from querysep.data.clips import read_clip
from querysep.data.manifest import Clip, read_manifest
from querysep.dsp.placing import place
from querysep.errors import DataError

SAMPLE_RATE = 32_000
_SHORTEST_S = 0.25
_TRIES = 200


@dataclass(frozen=True)
class TestSource:
    """One of the two sounds of a mixture.

    Attributes:
        label: its class.
        held_out: whether the class was kept out of training.
        clip: path of its recording.
        query_clip: path of the recording that asks for it, of another origin where the class has one.
        wave: as it is in the mixture, shape (time,).
        query: the whole query recording, shape (time2,).
    """

    label: str
    held_out: bool
    clip: str
    query_clip: str
    wave: NDArray[np.float32]
    query: NDArray[np.float32]


class OpenMixtures:
    """Draws mixtures from the test split; mixture i is the same for one seed.

    Args:
        manifest: of the open sound set.
        seed: of the choice.

    Raises:
        DataError: fewer than two classes have two usable recordings.
    """

    def __init__(self, manifest: Path, seed: int = 0) -> None:
        self._folder = manifest.parent
        self._seed = seed
        by_class: dict[str, list[Clip]] = {}
        for clip in read_manifest(manifest):
            if clip.split == "test" and clip.duration_s >= _SHORTEST_S:
                by_class.setdefault(clip.labels[0], []).append(clip)
        usable = {label: clips for label, clips in sorted(by_class.items()) if len(clips) >= 2}
        self.seen = {label: clips for label, clips in usable.items() if not clips[0].held_out}
        self.held_out = {label: clips for label, clips in usable.items() if clips[0].held_out}
        if len(self.seen) < 2:
            raise DataError(f"'{manifest}' has too few test classes with two recordings; the protocol needs 2.")

    def draw(self, count: int, held_out: bool) -> Iterator[tuple[TestSource, TestSource]]:
        """Yield pairs of sources of equal energy; with ``held_out`` the first is of a held-out class."""
        for index in range(count):
            yield self._pair(np.random.default_rng([self._seed, int(held_out), index]), held_out)

    def _pair(self, rng: np.random.Generator, held_out: bool) -> tuple[TestSource, TestSource]:
        time = int(rng.integers(2 * SAMPLE_RATE, 5 * SAMPLE_RATE + 1))
        for _ in range(_TRIES):
            first = self._clip(self.held_out if held_out else self.seen, rng)
            second = self._clip(self.seen, rng)
            if first.labels[0] in second.labels or second.labels[0] in first.labels:
                continue
            waves = [self._wave(clip, time, rng) for clip in (first, second)]
            energies = [float(np.square(wave, dtype=np.float64).mean()) for wave in waves]
            if min(energies) < 1e-9:
                continue
            waves[1] = waves[1] * np.float32(np.sqrt(energies[0] / energies[1]))
            peak = float(np.abs(waves[0] + waves[1]).max())
            scale = np.float32(min(1.0, 0.9 / peak))
            sources = [self._source(clip, wave * scale, rng) for clip, wave in zip((first, second), waves, strict=True)]
            return sources[0], sources[1]
        raise DataError("The test split is too small or too quiet to draw mixtures from.")

    def _clip(self, classes: dict[str, list[Clip]], rng: np.random.Generator) -> Clip:
        clips = classes[list(classes)[int(rng.integers(len(classes)))]]
        return clips[int(rng.integers(len(clips)))]

    def _wave(self, clip: Clip, time: int, rng: np.random.Generator) -> NDArray[np.float32]:
        return place(self._read(clip), time, rng, repeat_share=0.0)

    def _read(self, clip: Clip) -> NDArray[np.float32]:
        return read_clip(self._folder / clip.path, SAMPLE_RATE).astype(np.float32) / 32768.0

    def _source(self, clip: Clip, wave: NDArray[np.float32], rng: np.random.Generator) -> TestSource:
        clips = (self.held_out if clip.held_out else self.seen)[clip.labels[0]]
        others = [other for other in clips if other.origin != clip.origin]
        others = others or [other for other in clips if other.path != clip.path]
        query = others[int(rng.integers(len(others)))]
        return TestSource(clip.labels[0], clip.held_out, clip.path, query.path, wave, self._read(query))
