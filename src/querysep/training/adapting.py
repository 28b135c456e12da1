"""One road from a user's own recordings and a model to a model that knows them better."""

from pathlib import Path

from querysep.anchors.choice import MiningSettings
from querysep.anchors.mine import mine
from querysep.anchors.miner import Miner
from querysep.anchors.relations import relations_of
from querysep.data.recordings import Recordings
from querysep.errors import ConfigError, OutputError
from querysep.io.presence_calibration import write_presence
from querysep.model import Model, TrainedDetector, load_detector, load_model
from querysep.progress import Progress, silent
from querysep.training.batches import Crowd
from querysep.training.config import DetectorTraining, SeparatorTraining
from querysep.training.detector import train_detector
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


def adapt(
    recordings: Recordings,
    start: Model,
    minutes: float,
    folder: Path,
    provenance: Provenance,
    progress: Progress = silent,
) -> Path:
    """Teach a model the classes of some recordings; resumes in the same folder.

    The detector keeps all that it knows and its last layer learns the new classes, so that latent embeddings, and with
    them saved queries, stay what they were. The separator learns on from where it is, on mixtures of the recordings.
    The presence calibration is taken over: one fitted on the few recordings that were trained on finds presence too
    clear, and its gate silences sounds that are there.

    Args:
        recordings: labelled clips, at the model's rate.
        start: the model to begin from, on the CPU.
        minutes: of training, both networks together; mining comes on top.
        folder: for the parts, and at the end ``separator/model/``.
        provenance: for the model's config and card.
        progress: told after each step.

    Returns:
        The folder of the new model.

    Raises:
        ConfigError: several processes.
        DataError: too little data, or the loss became NaN.
        OutputError: the model is there already, or cannot be written.
    """
    if Crowd.here().size > 1:
        raise ConfigError("`querysep train adapt` is one process. Start it without torchrun.")
    if (folder / "separator" / "model").exists():
        raise OutputError(f"The model '{folder / 'separator' / 'model'}' is there already. Give another folder.")
    own = TrainedDetector(start.detector, start.labels)
    head = DetectorTraining.model_validate({**_HEAD, "minutes": _DETECTOR_SHARE * minutes})
    if not (folder / "detector").is_dir():
        train_detector(recordings, start.detector.config, head, folder, own, progress)
    detector = load_detector(folder / "detector")
    miner = Miner(
        detector.network,
        detector.labels,
        relations_of(clip.labels for clip in recordings.clips),
        MiningSettings.model_validate({"per_clip": _ANCHORS_PER_CLIP}),
    )
    mine(recordings, miner, detector.hash, folder / "anchors", progress=progress)
    training = SeparatorTraining.model_validate({**_SEPARATOR, "minutes": (1.0 - _DETECTOR_SHARE) * minutes})
    weights = train_separator(
        folder / "anchors",
        detector,
        start.separator.config,
        training,
        folder / "separator",
        provenance,
        progress,
        start=start,
    )
    if start.presence is not None:
        new = load_model(weights, "cpu").hash
        write_presence(weights, start.presence.model_copy(update={"model_hash": new}))
    return weights
