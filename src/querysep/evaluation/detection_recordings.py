"""A detector on whole recordings: weak labels, and how its latent embedding groups recordings of one class."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.data.manifest import Clip
from querysep.data.recordings import Recordings
from querysep.detection.windows import embed_and_profile
from querysep.detection.yamnet import Yamnet
from querysep.dsp.mel import log_mel, mel_filter_bank
from querysep.errors import DataError
from querysep.evaluation.detection_metrics import class_scores, retrieval_precision
from querysep.evaluation.protocol import Row
from querysep.model import TrainedDetector

TASK = "recordings"
_PER_CLASS = 25
_SHORTEST_S, _LONGEST_S = 0.1, 10.0

Embeddings = dict[str, list[NDArray[np.float32]]]


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
    ranked = {label: sorted(indices, key=lambda i: _hash(clips[i].path)) for label, indices in by_class.items()}
    return sorted(index for indices in ranked.values() for index in indices[:_PER_CLASS])


def _hash(path: str) -> bytes:
    return hashlib.sha256(path.encode()).digest()


def measure_recordings(
    detector: TrainedDetector, recordings: Recordings, chosen: Sequence[int], teacher: Yamnet | None = None
) -> list[Row]:
    """Return a row for each class: of weak labels (seen classes), and of retrieval (seen and held-out ones).

    Args:
        detector: what is measured; its network may be on any device.
        recordings: at the detector's rate.
        chosen: indices of the recordings; the first 10 s of each are heard.
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
        rows.append(Row(task=TASK, group="weak labels", label=one.label, values=values, facts=facts))
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
            task=TASK,
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
