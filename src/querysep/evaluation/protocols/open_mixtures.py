"""Test mixtures of a data set: everyday recordings, scenes, noise, two or three sounds at equal energy, music."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from querysep.data.formats.data_set import open_recordings
from querysep.data.formats.multitrack import MULTITRACK, Multitrack, is_stem, read_multitracks, read_stems
from querysep.data.manifest import Clip, Split, is_from_repository, is_rendered
from querysep.dsp.mixing import place
from querysep.errors import DataError
from querysep.evaluation.protocols.open_scenes import (
    BED_DBFS,
    BEDS,
    EVENTS,
    EXPONENTS,
    GAP_S,
    LIKE_NOISE,
    MOST_OTHERS,
    NOISE_DBFS,
    NOISE_S,
    SCENE_S,
    SHORTEST_BED_S,
    SHORTEST_EVENT_S,
    at_level,
    colored_noise,
    cut_event,
    lay,
    lengthen,
    spread,
)
from querysep.evaluation.protocols.protocol import hash_clips
from querysep.evaluation.soundscapes import trim
from querysep.queries.segments import cut_segments
from querysep.types import Audio, FloatArray

SAMPLE_RATE = 32_000
SHORTEST_S, LONGEST_S = 2.0, 10.0
EVERYDAY_S = 5.0
LEAD_S = 2.0
_SHORTEST_CLIP_S = 0.25
_TRIES = 200
_PEAK = 0.9

Kind = Literal[
    "seen", "held-out", "three sources", "stems", "speech over music", "clean", "everyday", "scenes", "noise"
]
"""A new kind goes to the end: its number is part of the seed."""
ORDER: tuple[Kind, ...] = (
    "everyday",
    "scenes",
    "noise",
    "seen",
    "held-out",
    "three sources",
    "stems",
    "speech over music",
    "clean",
)
"""Of the kinds in tables and reports."""
_GROUPS: Mapping[Kind, tuple[str, ...]] = {
    "seen": ("seen", "seen"),
    "held-out": ("held-out", "seen beside held-out"),
    "three sources": ("three sources",) * 3,
    "speech over music": ("speech over music", "music under speech"),
    "clean": ("clean",),
    "everyday": ("everyday", "everyday"),
}
_NOT_EVERYDAY = frozenset({"Speech", "Music"})


@dataclass(frozen=True)
class Stem:
    """One of the sounds of a mixture.

    Attributes:
        label: its class.
        group: what a query for it counts towards.
        clip: path of its recording.
        wave: as it is in the mixture, shape (time,).
        lead: what may stand alone before the mixture, shape (time2,): what comes before in the recording, or else the
            loudest stretch of ``wave`` once more.
        examples: clips that may be its query, by index; those of other origins first.
    """

    label: str
    group: str
    clip: str
    wave: FloatArray
    lead: FloatArray
    examples: tuple[int, ...]


@dataclass(frozen=True)
class OpenMixture:
    """Sounds together.

    Attributes:
        wave: their sum, shape (time,).
        stems: those that are queried.
        absent: index of a clip of a class that is not there; None where none is queried.
        beside: what else is in it and is not queried: classes, or a color of noise.
        events: when the one stem of a scene sounds, from sample to sample; none where that is not known.
    """

    wave: FloatArray
    stems: tuple[Stem, ...]
    absent: int | None = None
    beside: tuple[str, ...] = ()
    events: tuple[tuple[int, int], ...] = ()


class OpenMixtures:
    """Draws mixtures from the test split; mixture i of a kind is the same for one seed.

    Args:
        data: a data set of any layout; stems need ``multitrack.jsonl`` beside its manifest.
        seed: of the choice.
        split: another side to draw from, such as validation to choose by.

    Attributes:
        clips: of the split.
        seen: indices of the clips of each class that has two and that training may see.
        held_out: the same of classes kept out of training.
        everyday: of classes to be seen, neither speech nor music: the clips that strangers recorded, where the class
            has clips of two origins.
        noise_classes: that noise is asked for, in this order; all that may be seen but those that are like noise.
        kinds: the kinds of mixture that the data set has sounds for.
        data_hash: of the list of test recordings.
        warnings: of opening the data set.

    Raises:
        DataError: fewer than two classes have two usable recordings.
    """

    def __init__(self, data: str | Path, seed: int = 0, split: Split = "test") -> None:
        self._seed = seed
        self._recordings = open_recordings(data, SAMPLE_RATE, split=split)
        self.warnings = self._recordings.warnings
        self._audible: dict[int, bool] = {}
        self.clips: Sequence[Clip] = self._recordings.clips
        by_class: dict[str, list[int]] = {}
        for index, clip in enumerate(self.clips):
            if clip.duration_s >= _SHORTEST_CLIP_S and not _belongs_to_a_piece(clip):
                by_class.setdefault(clip.labels[0], []).append(index)
        usable = {label: indices for label, indices in sorted(by_class.items()) if len(indices) >= 2}
        self.held_out = {label: some for label, some in usable.items() if self.clips[some[0]].held_out}
        self.seen = {label: some for label, some in usable.items() if label not in self.held_out}
        if len(self.seen) < 2:
            raise DataError(f"'{data}' has too few {split} classes with two recordings; the protocol needs 2.")
        self.everyday = self._of_strangers()
        self._eventful = {label: some for label, some in self.everyday.items() if label not in LIKE_NOISE}
        self._beds = self._find_beds()
        unlike = [label for label in self.seen if label not in LIKE_NOISE]
        order = np.random.default_rng([seed, get_args(Kind).index("noise")]).permutation(len(unlike))
        self.noise_classes = tuple(unlike[number] for number in order)
        speech = {label: some for label, some in self.seen.items() if "Speech" in self.clips[some[0]].labels}
        music = {label: some for label, some in self.seen.items() if label == "Music"}
        self._pools: dict[Kind, tuple[dict[str, list[int]], ...]] = {
            "seen": (self.seen, self.seen),
            "held-out": (self.held_out, self.seen),
            "three sources": (self.seen,) * 3,
            "speech over music": (speech, music),
            "clean": (self.seen,),
            "everyday": (self.everyday, self.everyday),
        }
        self._music = MusicMixtures(data, self.clips)
        self.kinds: tuple[Kind, ...] = tuple(kind for kind in ORDER if self._has(kind))
        self.data_hash = hash_clips(self.clips, (piece.model_dump_json() for piece in self._music.pieces))

    def _of_strangers(self) -> dict[str, list[int]]:
        everyday: dict[str, list[int]] = {}
        for label, indices in self.seen.items():
            clips = {index: self.clips[index] for index in indices}
            if len({clip.origin for clip in clips.values()}) > 1:
                everyday[label] = [
                    index
                    for index, clip in clips.items()
                    if is_from_repository(clip) and _NOT_EVERYDAY.isdisjoint(clip.labels)
                ]
        return {label: indices for label, indices in everyday.items() if indices}

    def _find_beds(self) -> dict[str, list[int]]:
        long = {
            label: [index for index in self.seen[label] if self.clips[index].duration_s >= SHORTEST_BED_S]
            for label in self.seen.keys() & BEDS
        }
        return {label: indices for label, indices in sorted(long.items()) if indices}

    def count(self, kind: Kind, wanted: int) -> int:
        """Return how many mixtures of a kind there are: as many as are wanted.

        Of noise there are three for each of so many classes, of which there may be fewer.
        """
        return len(EXPONENTS) * min(wanted, len(self.noise_classes)) if kind == "noise" else wanted

    def _has(self, kind: Kind) -> bool:
        if kind in ("scenes", "noise"):
            return bool(self._eventful if kind == "scenes" else self.noise_classes)
        if (kind == "three sources" and len(self.seen) < 3) or (kind == "everyday" and len(self.everyday) < 2):
            return False
        return bool(self._music.pieces) if kind == "stems" else all(self._pools[kind])

    def draw(self, kind: Kind, index: int) -> OpenMixture:
        """Return a mixture.

        Args:
            kind: one of ``kinds``.
            index: from 0; any number of them can be had, but see ``count``.

        Raises:
            DataError: the recordings are too quiet, too alike or cannot be read.
        """
        rng = np.random.default_rng([self._seed, get_args(Kind).index(kind), index])
        time = int(rng.integers(round(SHORTEST_S * SAMPLE_RATE), round(LONGEST_S * SAMPLE_RATE) + 1))
        if kind == "everyday":
            time = round(EVERYDAY_S * SAMPLE_RATE)
        if kind == "stems":
            return self._music.draw(index, time, rng)
        if kind == "noise":
            return self._noise(index, rng)
        for _ in range(_TRIES):
            drawn = self._try_scene(rng) if kind == "scenes" else self._try(kind, time, rng)
            if drawn is not None:
                return drawn
        raise DataError("The test split is too small, too quiet or too much alike to draw mixtures from.")

    def _try(self, kind: Kind, time: int, rng: np.random.Generator) -> OpenMixture | None:
        chosen = [self._choose(classes, rng) for classes in self._pools[kind]]
        if not self._unrelated(chosen):
            return None
        placed: list[tuple[FloatArray, FloatArray]] = []
        for index in chosen:
            first = placed[0][0] if placed else None
            placed.append(self._place(index, time, first, rng, from_loudest=kind == "everyday"))
        energies = [_energy(wave) for wave, _ in placed]
        if min(energies) < 1e-9 * time:
            return None
        gains = [np.sqrt(energies[0] / energy) for energy in energies]
        mixture: FloatArray = np.sum([gain * wave for gain, (wave, _) in zip(gains, placed, strict=True)], axis=0)
        scale = min(1.0, _PEAK / float(np.abs(mixture).max()))
        stems = tuple(
            Stem(
                self.clips[index].labels[0],
                group,
                self.clips[index].path,
                (wave * scale * gain).astype(np.float32),
                (lead * scale * gain).astype(np.float32),
                self._examples(index, rng, strangers=kind == "everyday"),
            )
            for index, gain, (wave, lead), group in zip(chosen, gains, placed, _GROUPS[kind], strict=True)
        )
        whole: FloatArray = np.sum([stem.wave for stem in stems], axis=0, dtype=np.float32)
        absent = {"seen": self.seen, "everyday": self.everyday}.get(kind)
        return OpenMixture(whole, stems, self._absent(chosen, absent, rng) if absent else None)

    def _try_scene(self, rng: np.random.Generator) -> OpenMixture | None:
        """Lay events of one recordist's recordings of a class into a bed, and up to two other sounds."""
        target = self._choose(self._eventful, rng)
        others = [self._choose(self._eventful, rng) for _ in range(int(rng.integers(MOST_OTHERS + 1)))]
        under = [self._choose(self._beds, rng)] if self._beds else []
        clip, time = self.clips[target], round(SCENE_S * SAMPLE_RATE)
        alike = [one for one in self._eventful[clip.labels[0]] if self.clips[one].origin == clip.origin]
        count = int(rng.integers(EVENTS[0], EVENTS[1] + 1))
        sounds = self._trimmed([int(one) for one in rng.permutation(alike)[:count]])
        if not sounds or not self._unrelated([target, *others, *under]):
            return None
        bed = self._bed(under, time, rng)
        events = [cut_event(sounds[number % len(sounds)], SAMPLE_RATE, rng) for number in range(count)]
        starts = spread([len(event) for event in events], time, round(GAP_S * SAMPLE_RATE), rng)
        beside = [cut_event(sound, SAMPLE_RATE, rng) for sound in self._trimmed(others)]
        track = None if bed is None or starts is None else lay(events, starts, bed)
        if bed is None or starts is None or track is None or len(beside) < len(others):
            return None
        rest = lay(beside, [int(rng.integers(time - len(event) + 1)) for event in beside], bed)
        if rest is None:
            return None
        whole = bed + rest + track
        scale = np.float32(min(1.0, _PEAK / float(np.abs(whole).max())))
        wave = track * scale
        examples = self._examples(target, rng, strangers=True)
        return OpenMixture(
            whole * scale,
            (Stem(clip.labels[0], "scenes", clip.path, wave, loudest(wave, LEAD_S), examples),),
            beside=tuple(self.clips[one].labels[0] for one in [*under, *others])
            + (() if under else ("colored noise",)),
            events=tuple((start, start + len(event)) for start, event in zip(starts, events, strict=True)),
        )

    def _bed(self, under: Sequence[int], time: int, rng: np.random.Generator) -> FloatArray | None:
        """Return a recording as a bed, or noise between white and brown where there is none; None for silence."""
        if not under:
            return colored_noise(float(rng.uniform(0.0, 2.0)), BED_DBFS, time, SAMPLE_RATE, rng)
        sound = trim(self.read(under[0]), SAMPLE_RATE)
        if len(sound) < SAMPLE_RATE:
            return None
        bed = lengthen(sound, time, SAMPLE_RATE, rng)
        return at_level(bed, BED_DBFS) if _energy(bed) > 1e-9 * time else None

    def _trimmed(self, indices: Sequence[int]) -> list[FloatArray]:
        """Return recordings without the silence around them; those that are long and loud enough to be events."""
        sounds = [trim(self.read(index), SAMPLE_RATE) for index in indices]
        return [one for one in sounds if len(one) >= SHORTEST_EVENT_S * SAMPLE_RATE and _energy(one) > 1e-9 * len(one)]

    def _noise(self, index: int, rng: np.random.Generator) -> OpenMixture:
        """Return noise of the next color, and a class that it is asked for: three mixtures for each class."""
        color = list(EXPONENTS)[index % len(EXPONENTS)]
        label = self.noise_classes[index // len(EXPONENTS)]
        wave = colored_noise(EXPONENTS[color], NOISE_DBFS, round(NOISE_S * SAMPLE_RATE), SAMPLE_RATE, rng)
        same_class = np.random.default_rng([self._seed, get_args(Kind).index("noise"), index // len(EXPONENTS), 1])
        clips = [int(one) for one in same_class.permutation(self.seen[label])]
        clips.sort(key=lambda one: not is_from_repository(self.clips[one]))
        absent = next((one for one in clips if self.audible(one)), None)
        return OpenMixture(wave, (), absent, beside=(f"{color} noise",))

    def _unrelated(self, chosen: Sequence[int]) -> bool:
        """Say that none of the clips is of another's class, or of a kind of it."""
        clips = [self.clips[index] for index in chosen]
        return not any(one.labels[0] in other.labels for one in clips for other in clips if one is not other) and len(
            {clip.path for clip in clips}
        ) == len(clips)

    def _choose(self, classes: dict[str, list[int]], rng: np.random.Generator) -> int:
        indices = classes[list(classes)[int(rng.integers(len(classes)))]]
        return indices[int(rng.integers(len(indices)))]

    def _absent(self, chosen: Sequence[int], classes: dict[str, list[int]], rng: np.random.Generator) -> int | None:
        for _ in range(_TRIES):
            index = self._choose(classes, rng)
            if self._unrelated([*chosen, index]) and self.audible(index):
                return index
        return None

    def _place(
        self, index: int, time: int, first: FloatArray | None, rng: np.random.Generator, *, from_loudest: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Return a wave of the wanted length, and what may stand before it.

        A random cut of a long recording, or its loudest stretch; a short one among silence, where the first sound of
        the mixture sounds.
        """
        sound, lead = self.read(index), round(LEAD_S * SAMPLE_RATE)
        if len(sound) < time:
            wave = place(sound, time, rng, repeat_share=0.0) if first is None else _place_upon(sound, first, rng)
            return wave, loudest(wave, LEAD_S)
        if from_loudest:
            wave = loudest(sound, time / SAMPLE_RATE)
            return wave, loudest(wave, LEAD_S)
        start = int(rng.integers(0, len(sound) - time + 1))
        wave, before = sound[start : start + time], sound[max(0, start - lead) : start]
        if len(before) == lead and _energy(before) / lead > 0.1 * _energy(wave) / time:
            return wave, before
        return wave, loudest(wave, LEAD_S)

    def _examples(self, index: int, rng: np.random.Generator, *, strangers: bool) -> tuple[int, ...]:
        """Return other clips of the class, those of other origins first; or of other origins only, strangers' first."""
        clip = self.clips[index]
        classes = self.held_out if clip.labels[0] in self.held_out else self.seen
        others = [int(one) for one in rng.permutation(classes[clip.labels[0]]) if self.clips[one].path != clip.path]
        if strangers:
            others = [one for one in others if self.clips[one].origin != clip.origin]
            return tuple(sorted(others, key=lambda one: not is_from_repository(self.clips[one])))
        return tuple(sorted(others, key=lambda one: self.clips[one].origin == clip.origin))

    def read(self, index: int) -> FloatArray:
        """Return a whole recording, shape (time,)."""
        return self._recordings.read(index).astype(np.float32) / np.float32(32768.0)

    def audible(self, index: int) -> bool:
        """Say whether a recording can be an example: whether anything but silence is in it."""
        if index not in self._audible:
            sound = Audio(self.read(index)[None], SAMPLE_RATE)
            self._audible[index] = bool(len(cut_segments(sound, SAMPLE_RATE).waves))
        return self._audible[index]

    def examples(self, stem: Stem, count: int = 1) -> list[int]:
        """Return the first examples of a stem that are not silent, as many as there are up to ``count``."""
        found: list[int] = []
        for index in stem.examples:
            if len(found) == count:
                break
            if self.audible(index):
                found.append(index)
        return found


def loudest(wave: FloatArray, seconds: float) -> FloatArray:
    """Return the stretch of a wave with the most energy, to 50 ms; all of a shorter wave."""
    size, step = round(seconds * SAMPLE_RATE), SAMPLE_RATE // 20
    if len(wave) <= size:
        return wave
    sums = np.concatenate(([0.0], np.cumsum(np.square(wave, dtype=np.float64))))
    starts = np.arange(0, len(wave) - size + 1, step)
    first = int(starts[np.argmax(sums[starts + size] - sums[starts])])
    return wave[first : first + size]


def _place_upon(sound: FloatArray, first: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return a short sound among silence, its middle where ``first`` is at most 30 dB below its loudest 50 ms."""
    step = SAMPLE_RATE // 20
    power = np.square(first[: len(first) // step * step], dtype=np.float64).reshape(-1, step).sum(axis=1)
    loud = np.flatnonzero(power >= power.max() * 1e-3)
    middle = int(loud[rng.integers(len(loud))]) * step + int(rng.integers(step))
    start = min(max(0, middle - len(sound) // 2), len(first) - len(sound))
    placed = np.zeros_like(first)
    placed[start : start + len(sound)] = sound
    return placed


def _energy(wave: FloatArray) -> float:
    return float(np.square(wave, dtype=np.float64).sum())


class MusicMixtures:
    """Stretches of the pieces of the test side, whose soundfonts training never sees.

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
        self._index = {clip.path: index for index, clip in enumerate(clips) if _belongs_to_a_piece(clip)}
        self._piece_of: dict[str, str] = {}
        path = self._folder / MULTITRACK
        found = read_multitracks(path) if self._index and path.is_file() else []
        self.pieces = [piece for piece in found if all(stem.path in self._index for stem in piece.stems)]
        self._piece_of = {stem.path: piece.piece for piece in self.pieces for stem in piece.stems}

    def draw(self, index: int, time: int, rng: np.random.Generator) -> OpenMixture:
        """Return a stretch of a piece with its stems that have examples and are loud enough; pieces take turns.

        Args:
            index: of the mixture.
            time: samples; fewer where the piece is shorter.
            rng: where chance comes from.

        Raises:
            DataError: a stem cannot be read.
        """
        piece = self.pieces[index % len(self.pieces)]
        waves = read_stems(piece, self._folder)
        first = int(rng.integers(0, max(1, waves[0].shape[0] - time + 1)))
        waves = [wave[first : first + time] for wave in waves]
        mixture: FloatArray = np.sum(waves, axis=0, dtype=np.float32)
        stems = [
            Stem(stem.label, "stems", stem.path, wave, loudest(wave, LEAD_S), self._examples(stem.path, piece, rng))
            for stem, wave in zip(piece.stems, waves, strict=True)
        ]
        return OpenMixture(
            mixture, tuple(stem for stem in stems if stem.examples and _energy(stem.wave) > 1e-3 * _energy(mixture))
        )

    def _examples(self, path: str, piece: Multitrack, rng: np.random.Generator) -> tuple[int, ...]:
        clip = self._clips[self._index[path]]
        others = [
            self._index[other]
            for other, whole in self._piece_of.items()
            if whole != piece.piece and self._clips[self._index[other]].labels[0] == clip.labels[0]
        ]
        mixed = [others[place] for place in rng.permutation(len(others))]
        return tuple(sorted(mixed, key=lambda one: self._clips[one].origin == clip.origin))


def _belongs_to_a_piece(clip: Clip) -> bool:
    """Say whether a clip is a stem of rendered music."""
    return is_rendered(clip) and is_stem(clip)
