"""The ``held-out`` protocol: the paper's zero-shot test, on classes that training never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from querysep.data.formats.data_set import open_recordings
from querysep.data.manifest import Clip
from querysep.data.ontology import audioset
from querysep.data.recordings import Recordings
from querysep.dsp.mixing import equal_energy_gain
from querysep.errors import DataError
from querysep.evaluation.metrics.signal import silence_sdr_db, snr_db
from querysep.evaluation.protocols.protocol import Protocol, Row, Summary, hash_clips, of_rows
from querysep.pipeline import Separator
from querysep.queries.query import Query
from querysep.queries.segments import SEGMENT_S, cut_segments
from querysep.types import Audio, FloatArray

SAMPLE_RATE = 32_000
PAPER_CLASSES = (15, 63, 81, 184, 335, 449, 474, 348, 486, 4)
"""Of AudioSet's 527, by index."""
OWN, OTHER = "own query", "query from another recording"
_SHORTEST_CLIP_S = 0.25
_TRIES = 100


@dataclass(frozen=True)
class _Segment:
    """Two seconds of a clip that hold its class; ``other`` is the same of another clip of it, if there is one."""

    label: str
    clip: Clip
    wave: FloatArray
    other_clip: Clip | None
    other: FloatArray | None

    def queries(self) -> dict[str, Query]:
        found = {OWN: Query.audio(Audio(self.wave[None], SAMPLE_RATE))}
        if self.other is not None:
            found[OTHER] = Query.audio(Audio(self.other[None], SAMPLE_RATE))
        return found


class HeldOutProtocol(Protocol):
    """Mixture-SDR, clean-SDR and silence-SDR of classes kept out of training.

    Args:
        data: a data set of any layout, with a test side.
        model: name of a bundled model, or a weights folder.
        mixtures: pairs of clips.
        seed: of the choice of pairs.
        device: auto, cpu, cuda or mps.
        classes: held-out classes; None: those that the data set marks so, or else the paper's ten of AudioSet.

    Raises:
        DataError: the data set has test clips of fewer than two of the classes.
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
        self._mixtures, self._seed, self._given = mixtures, seed, classes
        self._recordings: Recordings | None = None
        self._separator: Separator | None = None
        self._classes = self._find_classes()
        if len(self._classes) < 2:
            raise DataError(
                f"'{data}' has test clips of {len(self._classes)} held-out class; the protocol needs 2. "
                "Take a data set that marks classes as held out, or AudioSet's evaluation segments."
            )
        chosen = {index for indices in self._classes.values() for index in indices}
        self.data_hash = hash_clips(self._open().clips[index] for index in sorted(chosen))

    def __getstate__(self) -> dict[str, Any]:
        """Leave the model and the list of recordings behind: another process loads its own."""
        return self.__dict__ | {"_recordings": None, "_separator": None}

    def settings(self) -> Mapping[str, object]:
        """Return what else decides the figures."""
        return {"mixtures": self._mixtures, "seed": self._seed, "classes": list(self._classes)}

    def tasks(self) -> Sequence[str]:
        """Return a key for each pair."""
        return [f"pair/{index:04d}" for index in range(self._mixtures)]

    def measure(self, task: str) -> list[Row]:
        """Measure a pair: each class is queried in the mixture, in its own clip, and in the other's.

        Raises:
            DataError: a clip cannot be read, or all are silent.
            WeightsError: the model cannot be loaded.
        """
        pair = self._pair(int(task.partition("/")[2]))
        whole: FloatArray = pair[0].wave + pair[1].wave
        trials = [(number, group, query) for number, one in enumerate(pair) for group, query in one.queries().items()]
        estimates = [
            [
                separation.target.samples[0]
                for separation in self._load().separate_each(
                    Audio(sound[None], SAMPLE_RATE), [query for _, _, query in trials]
                )
            ]
            for sound in (whole, pair[0].wave, pair[1].wave)
        ]
        rows = []
        for place, (number, group, _) in enumerate(trials):
            own, beside = pair[number], pair[1 - number]
            mixed, clean, silent = (estimates[which][place] for which in (0, 1 + number, 2 - number))
            values = {
                "mixture_snr_db": snr_db(own.wave, mixed),
                "clean_snr_db": snr_db(own.wave, clean),
                "silence_sdr_db": silence_sdr_db(beside.wave, silent),
            }
            facts = {"part": str(number), "way": group, "clip": own.clip.path, "beside": beside.label}
            if group == OTHER and own.other_clip is not None:
                facts["example"] = own.other_clip.path
            rows.append(Row(task=task, group=group, label=own.label, values=values, facts=facts))
        return rows

    def summarise(self, rows: Sequence[Row]) -> list[Summary]:
        """Return the means by kind of query, then by class."""
        found = []
        for group in (OWN, OTHER):
            some = [row for row in rows if row.group == group]
            found += [of_rows(group, some)] if some else []
        return found + [
            of_rows(f"{group}: {label}", some)
            for group in (OWN, OTHER)
            for label in self._classes
            if (some := [row for row in rows if (row.group, row.label) == (group, label)])
        ]

    def sounds(self, row: Row) -> dict[str, Audio]:
        """Make the sounds of a row again: mixture, target, estimate and query.

        Raises:
            DataError: a clip cannot be read.
            WeightsError: the model cannot be loaded.
        """
        pair = self._pair(int(row.task.partition("/")[2]))
        own = pair[int(row.facts["part"])]
        query = own.queries()[row.group]
        mixture = Audio((pair[0].wave + pair[1].wave)[None], SAMPLE_RATE)
        separation = self._load().separate(mixture, query)
        return {
            "mixture": mixture,
            "target": Audio(own.wave[None], SAMPLE_RATE),
            "estimate": separation.target,
            "query": query.sounds[0],
        }

    def _find_classes(self) -> dict[str, list[int]]:
        clips = self._open().clips
        names = list(self._given or dict.fromkeys(clip.labels[0] for clip in clips if clip.held_out))
        if not names:
            by_index = {one.index: one.name for one in audioset()}
            names = [by_index[index] for index in PAPER_CLASSES]
        found: dict[str, list[int]] = {name: [] for name in names}
        for index, clip in enumerate(clips):
            if clip.duration_s >= _SHORTEST_CLIP_S:
                for name in found.keys() & set(clip.labels):
                    found[name].append(index)
        return {name: indices for name, indices in found.items() if indices}

    def _pair(self, number: int) -> tuple[_Segment, _Segment]:
        """Draw clips of two classes, each class in turn beside one drawn by chance, and scale them to equal energy."""
        rng = np.random.default_rng([self._seed, number])
        names = list(self._classes)
        clips = self._open().clips
        for _ in range(_TRIES):
            first = names[number % len(names)]
            second = str(rng.choice([name for name in names if name != first]))
            one, other = (int(rng.choice(self._classes[name])) for name in (first, second))
            if first in clips[other].labels or second in clips[one].labels:
                continue
            segments = [self._segment(label, index, rng) for label, index in ((first, one), (second, other))]
            if segments[0] is None or segments[1] is None:
                continue
            gain = float(equal_energy_gain(*(torch.from_numpy(segment.wave) for segment in segments if segment)))
            scaled = _Segment(**{**vars(segments[1]), "wave": segments[1].wave * np.float32(gain)})
            if _audible(scaled.wave):
                return segments[0], scaled
        raise DataError("The held-out clips are too quiet or too much alike to draw pairs from.")

    def _segment(self, label: str, index: int, rng: np.random.Generator) -> _Segment | None:
        clips = self._open().clips
        wave = self._anchor(label, index)
        if not _audible(wave):
            return None
        others = [one for one in rng.permutation(self._classes[label]) if clips[one].origin != clips[index].origin]
        others = others or [one for one in self._classes[label] if clips[one].path != clips[index].path]
        for other in others[:_TRIES]:
            example = self._anchor(label, int(other))
            if _audible(example):
                return _Segment(label, clips[index], wave, clips[other], example)
        return _Segment(label, clips[index], wave, None, None)

    def _anchor(self, label: str, index: int) -> FloatArray:
        """Return the 2 s in which the model's detector finds the class most; without that class, the loudest.

        A shorter clip stands in the middle of silence.
        """
        sound = self._open().read(index).astype(np.float32) / np.float32(32768.0)
        size = round(SEGMENT_S * SAMPLE_RATE)
        if len(sound) <= size:
            before = (size - len(sound)) // 2
            return np.pad(sound, (before, size - len(sound) - before))
        detector = self._load().detector
        if label in detector.labels:
            presence = detector.presence(Audio(sound[None], SAMPLE_RATE))
            curve, step = presence.framewise[detector.labels.index(label)], round(presence.frame_s * SAMPLE_RATE)
        else:
            step = SAMPLE_RATE // 20
            curve = np.square(sound[: len(sound) // step * step]).reshape(-1, step).mean(axis=1)
        frames = max(1, min(len(curve), size // step))
        sums = np.convolve(curve, np.ones(frames), mode="valid")
        start = min(int(np.argmax(sums)) * step, len(sound) - size)
        return sound[start : start + size]

    def _open(self) -> Recordings:
        if self._recordings is None:
            self._recordings = open_recordings(self._data, SAMPLE_RATE, split="test")
        return self._recordings

    def _load(self) -> Separator:
        if self._separator is None:
            self._separator = Separator.load(self._model, self._device)
        return self._separator


def _audible(wave: FloatArray) -> bool:
    return bool(len(cut_segments(Audio(wave[None], SAMPLE_RATE), SAMPLE_RATE).waves))
