"""The ``detection`` protocol: weak labels of the test side, and how the latent embedding groups recordings."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.data.manifest import Clip
from querysep.data.recordings import Recordings
from querysep.data.splitting import rank
from querysep.detection.windows import embed_and_profile
from querysep.detection.yamnet import Yamnet
from querysep.dsp.mel import log_mel, mel_filter_bank
from querysep.errors import DataError
from querysep.evaluation.detection_metrics import ClassScores, class_scores, retrieval_precision
from querysep.evaluation.metrics import bootstrap_interval
from querysep.model import TrainedDetector
from querysep.progress import Progress, silent

PROTOCOL = "detection/1"
_PER_CLASS = 25
_SHORTEST_S, _LONGEST_S = 0.1, 10.0

Embedding = Callable[[Tensor], Tensor]
"""From a wave, shape (1, time), to a vector, shape (1, dim)."""


@dataclass(frozen=True)
class Retrieval:
    """Mean average precision of an embedding, over classes, with a 95 % bootstrap interval over classes."""

    embedding: str
    group: str
    classes: int
    mean_ap: float
    low: float
    high: float


@dataclass(frozen=True)
class DetectionResults:
    """What the protocol gives.

    Attributes:
        clips: number of test recordings taken.
        classes: one row for each class with test clips.
        mean_ap: of the classes.
        mean_ap_interval: 95 %, bootstrap over classes.
        mean_auc: of the classes.
        mean_d_prime: of the classes.
        retrieval: for our latent embedding and for what it is compared with.
    """

    clips: int
    classes: tuple[ClassScores, ...]
    mean_ap: float
    mean_ap_interval: tuple[float, float]
    mean_auc: float
    mean_d_prime: float
    retrieval: tuple[Retrieval, ...]


def evaluate_detection(
    detector: TrainedDetector, recordings: Recordings, teacher: Yamnet | None = None, progress: Progress = silent
) -> DetectionResults:
    """Measure a detector on the test side of a data set.

    At most 25 recordings of each class, chosen by a hash of their paths, so that common classes do not drown others;
    the first 10 s of each.

    Args:
        detector: what is measured.
        recordings: a data set with a test side, at the detector's rate.
        teacher: measured beside it.
        progress: told after each recording.

    Raises:
        DataError: there are no test recordings of two classes.
    """
    chosen = _choose(recordings.clips)
    embeddings: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
    scores = []
    for done, index in enumerate(chosen, start=1):
        samples = recordings.read(index, 0, round(_LONGEST_S * recordings.sample_rate))
        wave = torch.from_numpy(samples.astype(np.float32) / 32768.0)[None]
        latent, profile = embed_and_profile(detector.network, wave)
        scores.append(profile[0].numpy())
        embeddings["latent embedding"].append(latent[0].numpy())
        embeddings["log-mel mean and deviation"].append(_log_mel_statistics(wave, recordings.sample_rate))
        if teacher is not None:
            lesson = teacher(wave)
            embeddings["YAMNet class scores"].append(lesson.scores[0].numpy())
            embeddings["YAMNet embedding"].append(lesson.latent[0].numpy())
        progress(done, len(chosen), "listening")
    clips = [recordings.clips[index] for index in chosen]
    seen = [number for number, clip in enumerate(clips) if not clip.held_out]
    present = np.array([[label in clips[number].labels for label in detector.labels] for number in seen])
    rows = class_scores(detector.labels, present, np.stack([scores[number] for number in seen]))
    if not rows:
        raise DataError("The test side has no classes that the detector knows.")
    precisions = np.array([row.average_precision for row in rows])
    return DetectionResults(
        clips=len(clips),
        classes=tuple(rows),
        mean_ap=float(precisions.mean()),
        mean_ap_interval=bootstrap_interval(precisions),
        mean_auc=float(np.mean([row.auc for row in rows])),
        mean_d_prime=float(np.mean([row.d_prime for row in rows])),
        retrieval=tuple(_retrieve(clips, embeddings)),
    )


def _choose(clips: Sequence[Clip]) -> list[int]:
    by_class: dict[str, list[int]] = defaultdict(list)
    for index, clip in enumerate(clips):
        if clip.split == "test" and clip.duration_s >= _SHORTEST_S:
            by_class[clip.labels[0]].append(index)
    if len(by_class) < 2:
        raise DataError(f"The data set has test recordings of {len(by_class)} class; the protocol needs 2.")
    ranked = {label: sorted(indices, key=lambda i: rank(clips[i].path)) for label, indices in by_class.items()}
    return sorted(index for indices in ranked.values() for index in indices[:_PER_CLASS])


def _log_mel_statistics(wave: Tensor, sample_rate: int) -> NDArray[np.float32]:
    filters = mel_filter_bank(sample_rate, 1024, 64, 50.0, 14_000.0)
    spectrogram = log_mel(wave, filters, 1024, sample_rate // 100)[0]
    spectrogram = spectrogram - spectrogram.mean()
    deviation = spectrogram.std(dim=1, correction=0)
    return torch.cat((spectrogram.mean(dim=1), deviation - deviation.mean())).numpy()


def _retrieve(clips: Sequence[Clip], embeddings: dict[str, list[NDArray[np.float32]]]) -> list[Retrieval]:
    """Every embedding ranks the same recordings, seen and held-out ones together."""
    held_out = {clip.labels[0] for clip in clips if clip.held_out}
    rows = []
    for name, vectors in embeddings.items():
        precision = retrieval_precision(
            np.stack(vectors), [clip.labels[0] for clip in clips], [clip.origin for clip in clips]
        )
        for group, chosen in (
            ("seen", [value for label, value in precision.items() if label not in held_out]),
            ("held-out", [value for label, value in precision.items() if label in held_out]),
        ):
            if chosen:
                values = np.array(chosen)
                low, high = bootstrap_interval(values)
                rows.append(Retrieval(name, group, len(chosen), float(values.mean()), low, high))
    return rows


def detection_table(results: DetectionResults) -> str:
    """Return the results as Markdown tables."""
    low, high = results.mean_ap_interval
    lines = [
        "| classes | clips | mAP | 95 % interval | mAUC | d-prime |",
        "| --: | --: | --: | --- | --: | --: |",
        f"| {len(results.classes)} | {results.clips} | {results.mean_ap:.3f} | {low:.3f} to {high:.3f} "
        f"| {results.mean_auc:.3f} | {results.mean_d_prime:.2f} |",
        "",
        "| embedding | retrieval mAP | group | classes | 95 % interval |",
        "| --- | --: | --- | --: | --- |",
    ]
    lines += [
        f"| {row.embedding} | {row.mean_ap:.3f} | {row.group} | {row.classes} | {row.low:.3f} to {row.high:.3f} |"
        for row in results.retrieval
    ]
    return "\n".join(lines) + "\n"


def detection_json(results: DetectionResults, detector_hash: str) -> str:
    """Return the results as JSON, with what is needed to repeat them."""
    content = {
        "protocol": PROTOCOL,
        "model_hash": detector_hash,
        "querysep": version("querysep"),
        "torch": torch.__version__,
        "results": asdict(results),
    }
    return json.dumps(content, indent=1) + "\n"
