"""Fine-tuning: from a user's own recordings and a model to a model that knows them better."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from querysep.anchors.choice import MiningSettings
from querysep.anchors.mine import mine
from querysep.anchors.miner import Miner
from querysep.anchors.relations import relations_of
from querysep.data.recordings import Recordings
from querysep.errors import ConfigError, DataError, OutputError
from querysep.io.event_calibration import write_events
from querysep.io.presence_calibration import write_presence
from querysep.model import Model, TrainedDetector, load_detector, load_model
from querysep.progress import Progress, silent
from querysep.training.batches import Crowd
from querysep.training.config import DetectorTraining, SeparatorTraining
from querysep.training.detector import train_detector
from querysep.training.run_folder import RunRequest, read_run, settings_of
from querysep.training.separator import Provenance, train_separator

_DETECTOR_SHARE = 0.15  # of the time
_HEAD = {"head_only": True, "learning_rate": 1e-3, "warmup_steps": 20, "checkpoint_steps": 100}
_SEPARATOR = {
    "optimizer": "muon",
    "learning_rate": 5e-4,
    "warmup_steps": 50,
    "checkpoint_steps": 100,
    "ema_decay": 0.995,
    "alone_share": 0.15,
    "snr_floor_db": 30.0,
    "absent_floor_db": 15.0,
    "room_share": 0.4,
    "query_noise": 0.3,
    "hard_share": 0.2,
    "variations": 3,
    "varied_share": 0.3,
    "noisy_query_share": 0.25,
}
_ANCHORS_PER_CLIP = 3  # a few clips have to serve for many mixtures
_OF_BOTH = ("device", "precision", "workers", "seed")  # settings that hold for the detector's stage too


def minutes_of(folder: Path) -> float | None:
    """Return how many minutes a run of ``finetune`` was to take; None where there is none."""
    for stage, share in ((folder / "separator", 1.0 - _DETECTOR_SHARE), (folder, _DETECTOR_SHARE)):
        record = read_run(stage)
        if record is not None and record.settings.get("minutes"):
            return float(record.settings["minutes"]) / share
    return None


def finetune_settings(
    minutes: float, given: Mapping[str, Any] | None = None
) -> tuple[DetectorTraining, SeparatorTraining]:
    """Return the settings of both stages.

    Args:
        minutes: of training, both networks together.
        given: settings of the separator's training that shall be others; where and how it is computed goes for both.

    Raises:
        ConfigError: one is unknown or wrong.
    """
    given = given or {}
    both = {name: value for name, value in given.items() if name in _OF_BOTH}
    head = settings_of(DetectorTraining, None, {**_HEAD, "minutes": _DETECTOR_SHARE * minutes}, both)
    separator = {**_SEPARATOR, "minutes": (1.0 - _DETECTOR_SHARE) * minutes}
    return head, settings_of(SeparatorTraining, None, separator, given)


def finetune(
    recordings: Recordings,
    start: Model,
    minutes: float,
    folder: Path,
    provenance: Provenance,
    progress: Progress = silent,
    *,
    given: Mapping[str, Any] | None = None,
    request: RunRequest | None = None,
) -> Path:
    """Teach a model the classes of some recordings; goes on in the same folder, also with more minutes after its end.

    The detector keeps all that it knows and its last layer learns the new classes, so that latent embeddings, and with
    them saved queries, stay what they were. The separator learns on from where it is, on mixtures of the recordings.
    The calibrations of presence and events are taken over: those fitted on the few recordings that were trained on find
    presence too clear, and the gate silences sounds that are there.

    Args:
        recordings: labelled clips, at the model's rate.
        start: the model to begin from, on the CPU.
        minutes: of training, both networks together; mining comes on top. More minutes after the end are the
            separator's.
        folder: for the parts, and at the end ``separator/model/``.
        provenance: for the model's config and card.
        progress: called after each step.
        given: settings of the separator's training that shall be others, see ``finetune_settings``.
        request: where all this came from, see ``train_separator``.

    Returns:
        The folder of the new model.

    Raises:
        ConfigError: several processes, a setting is wrong, or the run in the folder was begun with something else.
        DataError: too little data, such as a class with sound in one clip alone, or the loss became NaN.
        OutputError: the model is there already and not of this run, or cannot be written.
    """
    if Crowd.here().size > 1:
        raise ConfigError("`querysep train finetune` is one process. Start it without torchrun.")
    stage = folder / "separator"
    if (stage / "model").exists() and read_run(stage) is None:
        raise OutputError(f"The model '{stage / 'model'}' is there already. Give another folder.")
    own = TrainedDetector(start.detector, start.labels)
    head, training = finetune_settings(minutes, given)
    if not training.min_clips:
        _refuse_thin(recordings)
    request = request or RunRequest()
    begun = read_run(folder)
    if begun is not None and begun.finished_step is not None:  # its latent embeddings are what the separator knows
        head = settings_of(DetectorTraining, begun, {}, {})
    train_detector(recordings, start.detector.config, head, folder, own, progress, request=request)
    detector = load_detector(folder / "detector")
    miner = Miner(
        detector.network,
        detector.labels,
        relations_of(clip.labels for clip in recordings.clips),
        MiningSettings.model_validate({"per_clip": _ANCHORS_PER_CLIP}),
    )
    mine(recordings, miner, detector.hash, folder / "anchors", progress=progress)
    weights = train_separator(
        folder / "anchors",
        detector,
        start.separator.config,
        training,
        stage,
        provenance,
        progress,
        start=start,
        request=replace(request, data=str(folder / "anchors"), detector=str(folder / "detector")),
    )
    if start.presence is not None:
        new = load_model(weights, "cpu").hash
        write_presence(weights, start.presence.model_copy(update={"model_hash": new}))
    if start.events is not None:
        write_events(weights, start.events.model_copy(update={"detector_hash": detector.hash}))
    return weights


def _refuse_thin(recordings: Recordings) -> None:
    """Refuse classes in which fewer than two clips hold sound: mining would leave nothing to ask for the other by."""
    members: dict[str, list[int]] = {}
    for index, clip in enumerate(recordings.clips):
        if clip.split == "train" and not clip.held_out:
            members.setdefault(clip.labels[0], []).append(index)
    for label, indices in sorted(members.items()):
        with_sound = (index for index in indices if np.abs(recordings.read(index).astype(np.int32)).max(initial=0) > 1)
        if len(indices) > 1 and len(list(islice(with_sound, 2))) < 2:
            raise DataError(
                f"The class '{label}' has {len(indices)} clips, and fewer than two of them hold sound. A sound is "
                "asked for by another recording of its class: add clips, or take the class out."
            )
