"""Anchors as sounds of further classes: faster, slower, backwards; and as examples with noise.

There are far fewer recordings than mixtures, and a separator learns them by heart. A class that is played an octave up
is another class, one that nobody recorded: its sounds are other sounds, and so are their latent embeddings, which the
detector gives for the sound as it is played.
"""

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from querysep.anchors.catalog import Anchor, Catalog
from querysep.detection.htsat import Htsat
from querysep.detection.windows import embed_together
from querysep.io.files import atomic_file
from querysep.progress import Progress, silent
from querysep.training.augment import Wave, add_noise, colour, rms
from querysep.training.batches import Crowd

_CAP = 120  # anchors of a class that are varied
_FAR, _NEAR = (0.5, 1.2), 0.4  # octaves
_CURVE_DB, _KNOTS = 10.0, 6
_SNR_DB = (0.0, 25.0)
_BATCH = 32
_PEAK = 0.95
_WAIT_S = 0.5


@dataclass(frozen=True)
class Variation:
    """How all sounds of a class are played, so that they are another class.

    Attributes:
        speed: times as fast.
        backwards: from the end.
        curve_db: knots of an equaliser's curve, see ``colour``.
    """

    speed: float
    backwards: bool
    curve_db: tuple[float, ...]

    @classmethod
    def of(cls, label: str, number: int) -> "Variation":
        """Return variation ``number`` of a class: faster, slower, backwards, and so on; the same in every training."""
        rng = np.random.default_rng([zlib.crc32(label.encode()), number])
        octaves = (rng.uniform(*_FAR), -rng.uniform(*_FAR), rng.uniform(-_NEAR, _NEAR))[number % 3]
        return cls(float(2.0**octaves), number % 3 == 2, tuple(rng.uniform(-_CURVE_DB, _CURVE_DB, size=_KNOTS)))

    def play(self, wave: Wave, longest: int, sample_rate: int) -> Wave:
        """Play a sound.

        Args:
            wave: shape (time,), at least one sample.
            longest: samples that are kept: the loudest stretch of so many.
            sample_rate: in Hz.

        Returns:
            As loud as before, unless it would clip; at least one sample.
        """
        played = soxr.resample(wave, self.speed * sample_rate, sample_rate)
        played = _loudest(played if len(played) else wave[:1], longest)
        played = colour(played[::-1] if self.backwards else played, np.array(self.curve_db))
        gain = rms(wave) / max(rms(played), 1e-9)
        peak = max(float(np.abs(played).max()), 1e-9)
        return (played * np.float32(min(gain, _PEAK / peak))).astype(np.float32)


def _loudest(wave: Wave, longest: int) -> Wave:
    if len(wave) <= longest:
        return wave
    energy = np.concatenate(([0.0], np.cumsum(np.square(wave, dtype=np.float64))))
    start = int(np.argmax(energy[longest:] - energy[:-longest]))
    return wave[start : start + longest]


class VariedCatalog(Catalog):
    """A catalog with variations of its anchors behind its own, and their latent embeddings with noise.

    The anchors of a variation have a class of their own, such as "Bark, variation 1". What is heard in them stays what
    it was, so that they never meet their class in a mixture. Sound is varied when it is asked for.

    Args:
        catalog: what is varied.
        chosen: which of its anchors were varied, for each variation in turn.
        variations: how many times each of them was.
        sounding: samples of each variation's anchors, in the order of ``chosen``, variation by variation.
        latents: the same, shape (variation * anchor, latent_dim).
        noisy: latent embeddings of the chosen anchors with noise, shape (anchor, latent_dim).

    Attributes:
        chosen: which of the catalog's anchors were varied, shape (anchor,).
        plain: how many of the anchors are the catalog's own.
        noisy: latent embeddings with noise of each own anchor; of those that were not chosen, without.
    """

    def __init__(
        self,
        catalog: Catalog,
        chosen: Sequence[int],
        variations: int,
        sounding: Sequence[int],
        latents: NDArray[np.float32],
        noisy: NDArray[np.float32],
    ) -> None:
        self._catalog, self.chosen = catalog, np.array(chosen, dtype=np.int64)
        anchors = list(catalog.anchors)
        for place, time_ in enumerate(sounding):
            number, which = divmod(place, len(chosen))
            anchors.append(_varied(catalog.anchors[chosen[which]], number, int(time_)))
        super().__init__(anchors, np.concatenate((catalog.latents, latents)), np.zeros((0, 0), np.int16), catalog.facts)
        self.plain = len(catalog.anchors)
        self.noisy = catalog.latents.copy()
        self.noisy[self.chosen] = noisy

    def audio(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int16]:
        """Return segments, see ``Catalog.audio``."""
        return np.stack([self._segment(int(index)) for index in indices])

    def _segment(self, index: int) -> NDArray[np.int16]:
        if index < self.plain:
            plain: NDArray[np.int16] = self._catalog.audio([index])[0]
            return plain
        number, which = divmod(index - self.plain, len(self.chosen))
        wave = play_anchor(self._catalog, int(self.chosen[which]), number)
        segment = np.zeros(self.segment_time, np.int16)
        segment[: len(wave)] = _whole(wave)
        return segment


def _varied(anchor: Anchor, number: int, sounding: int) -> Anchor:
    name = f", variation {number + 1}"
    changes = {"label": anchor.label + name, "clip": anchor.clip + name, "heard": anchor.heard or (anchor.label,)}
    return anchor.model_copy(update={**changes, "sounding": sounding})


def _whole(wave: Wave) -> NDArray[np.int16]:
    samples: NDArray[np.int16] = np.round(wave * 32767.0).astype(np.int16)
    return samples


def play_anchor(catalog: Catalog, index: int, number: int) -> Wave:
    """Return an anchor's sound in a variation of its class, shape (time,)."""
    variation = Variation.of(catalog.anchors[index].label, number)
    return variation.play(catalog.wave(index), catalog.segment_time, catalog.sample_rate)


def vary_catalog(
    catalog: Catalog, network: Htsat, variations: int, folder: Path, progress: Progress = silent
) -> VariedCatalog:
    """Let the detector listen to variations of the training side's anchors, up to 120 of each class, and to noisy ones.

    Args:
        catalog: what is varied.
        network: the detector that mined it, in eval mode.
        variations: of each class.
        folder: keeps what the detector said, a part for each process of a training; found again when it goes on.
        progress: told after each batch.

    Raises:
        DataError: the sound cannot be read.
        OutputError: the folder cannot be written.
    """
    chosen = _choose(catalog)
    rows = [(index, number) for number in range(-1, variations) for index in chosen]
    crowd = Crowd.here()
    parts = [folder / f"part-{rank}-of-{crowd.size}.npz" for rank in range(crowd.size)]
    own = rows[crowd.rank :: crowd.size]
    if not _holds(parts[crowd.rank], catalog, own):
        _listen(catalog, network, own, parts[crowd.rank], progress)
    latents = np.zeros((len(rows), catalog.facts.latent_dim), np.float32)
    sounding = np.zeros(len(rows), np.int64)
    for rank, part in enumerate(parts):
        while not _holds(part, catalog, rows[rank :: crowd.size]):
            time.sleep(_WAIT_S)  # another process listens
        with np.load(part) as said:
            latents[rank :: crowd.size], sounding[rank :: crowd.size] = said["latents"], said["sounding"]
    count = len(chosen)
    return VariedCatalog(catalog, chosen, variations, sounding[count:].tolist(), latents[count:], latents[:count])


def _choose(catalog: Catalog) -> list[int]:
    by_class: dict[str, list[int]] = {}
    for index, anchor in enumerate(catalog.anchors):
        if anchor.split == "train":
            by_class.setdefault(anchor.label, []).append(index)
    chosen: list[int] = []
    for _, members in sorted(by_class.items()):
        chosen += np.random.default_rng(len(members)).permutation(members)[:_CAP].tolist()
    return chosen


def _holds(part: Path, catalog: Catalog, rows: Sequence[tuple[int, int]]) -> bool:
    """Tell whether a file has what is needed: of this detector, these anchors and variations."""
    if not part.is_file():
        return False
    with np.load(part) as said:
        return bool(said["detector"] == catalog.detector and np.array_equal(said["rows"], np.array(rows)))


def _listen(catalog: Catalog, network: Htsat, rows: Sequence[tuple[int, int]], part: Path, progress: Progress) -> None:
    latents, sounding = [], []
    for first in range(0, len(rows), _BATCH):
        waves = []
        for index, number in rows[first : first + _BATCH]:
            if number < 0:
                rng = np.random.default_rng([17, index])
                waves.append(add_noise(catalog.wave(index), rng, rng.uniform(*_SNR_DB)))
            else:
                waves.append(_whole(play_anchor(catalog, index, number)).astype(np.float32) / 32768.0)
        latents.append(embed_together(network, waves))
        sounding += [len(wave) for wave in waves]
        progress(first + len(waves), len(rows), "the detector listens to variations")
    part.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(part) as path, path.open("wb") as file:
        np.savez(
            file,
            latents=np.concatenate(latents),
            sounding=np.array(sounding),
            rows=np.array(rows),
            detector=np.array(catalog.detector),
        )
