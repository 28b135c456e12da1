"""Anchors as sounds of further classes: faster, slower, backwards; and as examples with noise.

There are far fewer recordings than mixtures, and a separator learns them by heart. A class that is played an octave up
is another class, one that nobody recorded: its sounds are other sounds, and so are their latent embeddings, which the
detector gives for the sound as it is played.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from querysep.anchors.catalog import Anchor, Catalog
from querysep.detection.network import DetectorNetwork
from querysep.detection.windows import embed_together
from querysep.dsp.mixing import KNOTS, Level, Play, Playback, add_noise, render
from querysep.io.files import atomic_file
from querysep.progress import Progress, silent
from querysep.training.batches import Crowd, signs_of_life, wait_for

_CAP = 120  # anchors of a class that are varied
_FAR, _NEAR = (0.5, 1.2), 0.4  # octaves
_COLOR_DB = 10.0
_SNR_DB = (0.0, 25.0)
_BATCH = 32
_PEAK = 0.95


@dataclass(frozen=True)
class Variation:
    """How all sounds of a class are played, so that they are another class.

    Attributes:
        speed: times as fast.
        backwards: from the end.
        color_db: see ``Play``.
    """

    speed: float
    backwards: bool
    color_db: Level

    @classmethod
    def of(cls, label: str, number: int) -> "Variation":
        """Return variation ``number`` of a class: faster, slower, backwards, and so on; the same in every training."""
        rng = np.random.default_rng([zlib.crc32(label.encode()), number])
        octaves = (rng.uniform(*_FAR), -rng.uniform(*_FAR), rng.uniform(-_NEAR, _NEAR))[number % 3]
        color_db = tuple(float(gain_db) for gain_db in rng.uniform(-_COLOR_DB, _COLOR_DB, size=KNOTS))
        return cls(float(2.0**octaves), number % 3 == 2, color_db)

    def whole(self, time: int) -> Play:
        """Return how all of a sound of some samples is played."""
        return Play(time).faster(self.speed).colored(self.color_db)

    def stretch(self, start: int, length: int) -> Play:
        """Return how a stretch is played, of some samples from ``start`` on in what ``whole`` plays."""
        if self.backwards:
            play = Play(length, first=(start + length - 1) * self.speed, speed=-self.speed)
        else:
            play = Play(length, first=start * self.speed, speed=self.speed)
        return play.colored(self.color_db)


class VariedCatalog(Catalog):
    """A catalog with variations of its anchors behind its own, and their latent embeddings with noise.

    The anchors of a variation have a class of their own, such as "Bark, variation 1". What is heard in them stays what
    it was, so that they never meet their class in a mixture. ``audio`` gives the sound as it was recorded, ``play`` how
    it becomes the variation.

    Args:
        catalog: what is varied.
        chosen: which of its anchors were varied, for each variation in turn.
        stretches: start and length of the stretch that each variation's anchors play, in the order of ``chosen``,
            variation by variation, shape (variation * anchor, 2), see ``Variation.stretch``.
        latents: the same, shape (variation * anchor, latent_dim).
        noisy: latent embeddings of the chosen anchors with noise, shape (anchor, latent_dim).

    Attributes:
        plain: how many of the anchors are the catalog's own.
        noisy: latent embeddings with noise of each own anchor; of those that were not chosen, without.
    """

    def __init__(
        self,
        catalog: Catalog,
        chosen: Sequence[int],
        stretches: NDArray[np.int64],
        latents: NDArray[np.float32],
        noisy: NDArray[np.float32],
    ) -> None:
        self._catalog, self._chosen = catalog, np.array(chosen, dtype=np.int64)
        self._stretches = stretches
        anchors = list(catalog.anchors)
        for place, (_, length) in enumerate(stretches):
            number, which = divmod(place, len(chosen))
            anchors.append(_varied(catalog.anchors[chosen[which]], number, int(length)))
        super().__init__(anchors, np.concatenate((catalog.latents, latents)), np.zeros((0, 0), np.int16), catalog.facts)
        self.plain = len(catalog.anchors)
        self.noisy = catalog.latents.copy()
        self.noisy[self._chosen] = noisy

    def audio(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int16]:
        """Return the recorded segments behind anchors, see ``Catalog.audio``."""
        given = np.asarray(indices, dtype=np.int64)
        if not len(self._chosen):
            return self._catalog.audio(given)
        return self._catalog.audio(
            np.where(given < self.plain, given, self._chosen[(given - self.plain) % len(self._chosen)])
        )

    def play(self, index: int) -> Play:
        """Return how the sound of ``audio`` is played to be this anchor."""
        if index < self.plain:
            return self._catalog.play(index)
        number, which = divmod(index - self.plain, len(self._chosen))
        start, length = (int(one) for one in self._stretches[index - self.plain])
        return Variation.of(self._catalog.anchors[self._chosen[which]].label, number).stretch(start, length)


def _varied(anchor: Anchor, number: int, sounding: int) -> Anchor:
    name = f", variation {number + 1}"
    changes = {"label": anchor.label + name, "clip": anchor.clip + name, "heard": anchor.heard or (anchor.label,)}
    return anchor.model_copy(update={**changes, "sounding": sounding})


def vary_catalog(
    catalog: Catalog,
    network: DetectorNetwork,
    variations: int,
    folder: Path,
    progress: Progress = silent,
    device: torch.device | str = "cpu",
) -> VariedCatalog:
    """Embed variations of the training side's anchors, up to 120 of each class, and the same anchors with noise.

    Args:
        catalog: what is varied.
        network: the detector that mined it, in eval mode, on the CPU.
        variations: of each class.
        folder: keeps the embeddings, a part for each process of a training; found again when it goes on.
        progress: called after each batch.
        device: where to embed.

    Raises:
        DataError: the sound cannot be read, or another process does not do its part.
        OutputError: the folder cannot be written.
    """
    chosen = _choose(catalog)
    rows = [(index, number) for number in range(-1, variations) for index in chosen]
    crowd = Crowd.here()
    parts = [folder / f"part-{rank}-of-{crowd.size}.npz" for rank in range(crowd.size)]
    own = rows[crowd.rank :: crowd.size]
    latents = np.zeros((len(rows), catalog.facts.latent_dim), np.float32)
    stretches = np.zeros((len(rows), 2), np.int64)
    with signs_of_life(folder):
        if not _holds(parts[crowd.rank], catalog, own):
            _embed(catalog, network.to(device), own, parts[crowd.rank], progress)
            network.to("cpu")
        for rank, part in enumerate(parts):
            wanted = rows[rank :: crowd.size]
            wait_for(partial(_holds, part, catalog, wanted), "embed variations", rank=rank, folder=folder)
            with np.load(part) as kept:
                latents[rank :: crowd.size], stretches[rank :: crowd.size] = kept["latents"], kept["stretches"]
    count = len(chosen)
    return VariedCatalog(catalog, chosen, stretches[count:], latents[count:], latents[:count])


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
    with np.load(part) as kept:
        return bool(
            "stretches" in kept
            and kept["detector"] == catalog.detector
            and np.array_equal(kept["rows"], np.array(rows))
        )


def _embed(
    catalog: Catalog, network: DetectorNetwork, rows: Sequence[tuple[int, int]], part: Path, progress: Progress
) -> None:
    latents, stretches = [], []
    for first in range(0, len(rows), _BATCH):
        some = rows[first : first + _BATCH]
        sounds = torch.from_numpy(catalog.audio([index for index, _ in some]))
        found = _stretches(catalog, some, sounds)
        waves = play_rows(catalog, some, found, sounds)
        lengths = found[:, 1].tolist()
        sounding = [one[:length].numpy() for one, length in zip(waves, lengths, strict=True)]
        latents.append(embed_together(network, sounding, next(network.parameters()).device))
        stretches.append(found)
        progress(first + len(some), len(rows), "embedding variations")
    part.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(part) as path, path.open("wb") as file:
        np.savez(
            file,
            latents=np.concatenate(latents),
            stretches=np.concatenate(stretches),
            rows=np.array(rows),
            detector=np.array(catalog.detector),
        )


def _stretches(catalog: Catalog, rows: Sequence[tuple[int, int]], sounds: Tensor) -> NDArray[np.int64]:
    """Return start and length of the loudest stretch, not longer than a segment, of each anchor as it is played."""
    plays = []
    for index, number in rows:
        sounding = catalog.anchors[index].sounding
        variation = Variation.of(catalog.anchors[index].label, number) if number >= 0 else None
        plays.append(variation.whole(sounding) if variation else Play(sounding))
    longest = catalog.segment_time
    time = max(longest, *(play.length for play in plays))
    energy = render(sounds, Playback.of(plays), time, catalog.sample_rate).double().square().cumsum(dim=1)
    energy = functional.pad(energy, (1, 0))
    starts = (energy[:, longest:] - energy[:, :-longest]).argmax(dim=1)
    lengths = torch.tensor([play.length for play in plays])
    starts = starts.minimum((lengths - longest).clamp(min=0))
    return torch.stack((starts, (lengths - starts).clamp(max=longest)), dim=1).numpy()


def play_rows(
    catalog: Catalog, rows: Sequence[tuple[int, int]], stretches: NDArray[np.int64], sounds: Tensor
) -> Tensor:
    """Play anchors as they are embedded: in a variation as loud as recorded, unless it would clip; or with noise.

    Args:
        catalog: of the anchors.
        rows: anchor, and number of the variation; -1: as it was recorded, with noise 0 to 25 dB below.
        stretches: start and length of what is played, shape (row, 2).
        sounds: as they were recorded, shape (row, time).

    Returns:
        Shape (row, time), zero after the length.
    """
    plays = []
    for (index, number), (start, length) in zip(rows, stretches.tolist(), strict=True):
        variation = Variation.of(catalog.anchors[index].label, number) if number >= 0 else None
        plays.append(variation.stretch(start, length) if variation else Play(length))
    time = catalog.segment_time
    waves = render(sounds, Playback.of(plays), time, catalog.sample_rate)
    recorded = torch.tensor([catalog.anchors[index].sounding for index, _ in rows])
    length = torch.from_numpy(stretches[:, 1])
    loudness = (sounds.float() / 32768.0).square().sum(dim=1) / recorded
    gain = (loudness / (waves.square().sum(dim=1) / length).clamp(min=1e-18)).sqrt()
    gain = gain.minimum(_PEAK / waves.abs().amax(dim=1).clamp(min=1e-9))
    plain = torch.tensor([number < 0 for _, number in rows])
    chance = [np.random.default_rng([17, index]) for index, _ in rows]
    snr_db, slope = (torch.tensor([rng.uniform(*span) for rng in chance]).float() for span in (_SNR_DB, (0.0, 1.0)))
    snr_db = snr_db + 10.0 * torch.log10(length / time)  # add_noise counts the silence behind the sound too
    noisy = add_noise(waves, snr_db, slope, torch.tensor([int(rng.integers(1 << 20)) for rng in chance]))
    sounding = torch.arange(time)[None] < length[:, None]
    return torch.where(plain[:, None], noisy, waves * gain[:, None]) * sounding
