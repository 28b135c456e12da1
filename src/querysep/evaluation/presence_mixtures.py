"""Mixtures with queries for sounds that are in them, and as many for sounds that are not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import Clip, Split
from querysep.data.ontology import audioset
from querysep.data.recordings import Recordings
from querysep.dsp.mixing import place
from querysep.errors import DataError
from querysep.queries.query import Query
from querysep.types import Audio

SHORTEST_S, LONGEST_S = 2.0, 8.0
_SHORTEST_CLIP_S = 0.25
_LONGEST_QUERY_S = 10.0
_LEVELS_DB = 8.0  # the sounds of a mixture differ by up to so much
_LABEL_SHARE = 0.4  # of the queries ask by name, where the model has it
_TRIES = 500


@dataclass(frozen=True)
class Asked:
    """A query for a mixture.

    Attributes:
        label: the class asked for.
        query: another recording of the class, or its name.
        wave: the sound asked for, as it is in the mixture, shape (time,); None where it is not there.
    """

    label: str
    query: Query
    wave: NDArray[np.float32] | None


@dataclass(frozen=True)
class AskedMixture:
    """A mixture, shape (time,), and the queries for it."""

    wave: NDArray[np.float32]
    asked: tuple[Asked, ...]


class PresenceMixtures:
    """Draws mixtures of one to three sounds of 2 to 8 s; mixture i is the same for one seed.

    Args:
        recordings: a data set.
        split: the side to draw from.
        names: classes that can be asked for by name.
        seed: of the choice.

    Raises:
        DataError: fewer than three classes have two recordings.
    """

    def __init__(self, recordings: Recordings, split: Split, names: Sequence[str] = (), seed: int = 0) -> None:
        self._recordings, self._names, self._seed = recordings, frozenset(names), seed
        by_class: dict[str, list[int]] = {}
        for index, clip in enumerate(recordings.clips):
            if clip.split == split and clip.duration_s >= _SHORTEST_CLIP_S:
                by_class.setdefault(clip.labels[0], []).append(index)
        self._by_class = {label: indices for label, indices in sorted(by_class.items()) if len(indices) >= 2}
        if len(self._by_class) < 3:
            raise DataError(
                f"The split '{split}' has {len(self._by_class)} classes with two recordings or more; at least 3 are "
                "needed to tell present from absent sounds. Give a larger data set."
            )

    def draw(self, count: int) -> Iterator[AskedMixture]:
        """Yield mixtures; each asks for all of its sounds, and for as many that are not there.

        Raises:
            DataError: a recording cannot be read, or the split is too small or too quiet.
        """
        for index in range(count):
            rng = np.random.default_rng([self._seed, 23, index])
            for _ in range(_TRIES):
                if (mixture := self._try(rng)) is not None:
                    yield mixture
                    break
            else:
                raise DataError("The data set is too small or too quiet to draw mixtures from.")

    def _try(self, rng: np.random.Generator) -> AskedMixture | None:
        rate, wanted = self._recordings.sample_rate, int(rng.choice([1, 2, 2, 3]))
        time = int(rng.integers(round(SHORTEST_S * rate), round(LONGEST_S * rate)))
        clips: list[int] = []
        for _ in range(_TRIES):
            index = self._pick(rng)
            if not any(_holds(self._clip(one), self._clip(index).labels[0]) for one in clips):
                clips.append(index)
            if len(clips) == wanted:
                break
        waves = self._levelled([place(self._read(index), time, rng, repeat_share=0.3) for index in clips], rng)
        if waves is None:
            return None
        present = [(self._clip(index).labels[0], wave) for index, wave in zip(clips, waves, strict=True)]
        asked = [Asked(label, self._query(label, clips, rng), wave) for label, wave in present]
        asked += [Asked(label, self._query(label, clips, rng), None) for label in self._absent(clips, rng)]
        return AskedMixture(np.stack(waves).sum(axis=0), tuple(asked))

    def _clip(self, index: int) -> Clip:
        return self._recordings.clips[index]

    def _pick(self, rng: np.random.Generator) -> int:
        indices = self._by_class[list(self._by_class)[int(rng.integers(len(self._by_class)))]]
        return indices[int(rng.integers(len(indices)))]

    def _levelled(self, waves: list[NDArray[np.float32]], rng: np.random.Generator) -> list[NDArray[np.float32]] | None:
        """Bring sounds to levels that differ a little; None where one is silent."""
        levels = [float(np.sqrt(np.square(wave, dtype=np.float64).mean())) for wave in waves]
        if min(levels) < 3e-5:
            return None
        gains = [0.1 / level * 10 ** (rng.uniform(-_LEVELS_DB, _LEVELS_DB) / 20) for level in levels]
        peak = float(np.abs(np.sum([wave * gain for wave, gain in zip(waves, gains, strict=True)], axis=0)).max())
        scale = min(1.0, 0.9 / peak)
        return [wave * np.float32(gain * scale) for wave, gain in zip(waves, gains, strict=True)]

    def _absent(self, clips: Sequence[int], rng: np.random.Generator) -> list[str]:
        heard = [self._clip(index) for index in clips]
        labels = [label for label in self._by_class if not any(_holds(clip, label) for clip in heard)]
        return [labels[place] for place in rng.permutation(len(labels))[: len(clips)]]

    def _query(self, label: str, in_mixture: Sequence[int], rng: np.random.Generator) -> Query:
        if label in self._names and rng.random() < _LABEL_SHARE:
            return Query.label(label)
        origins = {self._clip(index).origin for index in in_mixture}
        others = [index for index in self._by_class[label] if self._clip(index).origin not in origins]
        others = others or [index for index in self._by_class[label] if index not in in_mixture]
        chosen = others[int(rng.integers(len(others)))]
        longest = round(_LONGEST_QUERY_S * self._recordings.sample_rate)
        return Query.audio(Audio(self._read(chosen, longest)[None], self._recordings.sample_rate))

    def _read(self, index: int, count: int | None = None) -> NDArray[np.float32]:
        return self._recordings.read(index, 0, count).astype(np.float32) / np.float32(32768.0)


def _holds(clip: Clip, label: str) -> bool:
    """Say whether a clip may be called by a class: its own, one above it, or a kind of it."""
    known = audioset()
    above = {one for own in clip.labels if own in known for one in known.ancestors(own)}
    return label in above.union(clip.labels) or (label in known and clip.labels[0] in known.ancestors(label))
