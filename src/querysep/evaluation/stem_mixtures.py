"""Test mixtures of rendered music: stretches of pieces, all stems as they sound in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from querysep.data.manifest import Clip, is_rendered
from querysep.data.multitrack import MULTITRACK, Multitrack, is_stem, read_multitracks, read_stems
from querysep.types import FloatArray


@dataclass(frozen=True)
class DrawnStem:
    """A stem of a piece.

    Attributes:
        label: class of its instrument.
        clip: path of its recording.
        examples: clips that may ask for it, by index: the same instrument in other pieces, of other soundfonts first.
    """

    label: str
    clip: str
    examples: tuple[int, ...]


class StemMixtures:
    """Stretches of the pieces of the test side, whose soundfonts' voices training never hears.

    Args:
        data: folder of a data set, or its manifest.
        clips: the test clips.

    Attributes:
        pieces: of the test side with all their stems among the clips; none where the data set has no rendered music.
    """

    def __init__(self, data: str | Path, clips: Sequence[Clip]) -> None:
        place = Path(data)
        self._folder = place if place.is_dir() else place.parent
        self._clips = clips
        self._index = {clip.path: index for index, clip in enumerate(clips) if belongs_to_a_piece(clip)}
        self._piece_of: dict[str, str] = {}
        path = self._folder / MULTITRACK
        found = read_multitracks(path) if self._index and path.is_file() else []
        self.pieces = [piece for piece in found if all(stem.path in self._index for stem in piece.stems)]
        self._piece_of = {stem.path: piece.piece for piece in self.pieces for stem in piece.stems}

    def draw(self, index: int, time: int, rng: np.random.Generator) -> tuple[list[FloatArray], list[DrawnStem]]:
        """Return a stretch of the stems of a piece, and what they are; the pieces take turns.

        Args:
            index: of the mixture.
            time: samples; fewer where the piece is shorter.
            rng: where chance comes from.

        Returns:
            Waves of shape (time,), which add up to the mixture, and their stems.

        Raises:
            DataError: a stem cannot be read.
        """
        piece = self.pieces[index % len(self.pieces)]
        waves = read_stems(piece, self._folder)
        first = int(rng.integers(0, max(1, waves[0].shape[0] - time + 1)))
        stems = [DrawnStem(stem.label, stem.path, self._examples(stem.path, piece, rng)) for stem in piece.stems]
        return [wave[first : first + time] for wave in waves], stems

    def _examples(self, path: str, piece: Multitrack, rng: np.random.Generator) -> tuple[int, ...]:
        clip = self._clips[self._index[path]]
        others = [
            self._index[other]
            for other, whole in self._piece_of.items()
            if whole != piece.piece and self._clips[self._index[other]].labels[0] == clip.labels[0]
        ]
        mixed = [others[place] for place in rng.permutation(len(others))]
        return tuple(sorted(mixed, key=lambda one: self._clips[one].origin == clip.origin))


def belongs_to_a_piece(clip: Clip) -> bool:
    """Say whether a clip is a stem of rendered music."""
    return is_rendered(clip) and is_stem(clip)
