"""Training the detector on weak labels."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from querysep.data.clips import load_clips
from querysep.detection.config import DetectorConfig
from querysep.detection.htsat import Htsat
from querysep.errors import DataError
from querysep.model import save_detector
from querysep.progress import Progress, silent
from querysep.training.config import DetectorTraining
from querysep.training.detector_items import DetectorItems
from querysep.training.runner import QueryModule, run

_MASKED_MELS, _MASKED_FRAMES = 12, 40


class DetectorModule(QueryModule[Htsat]):
    """Binary cross-entropy of the clipwise probabilities, with masking of the spectrogram (Park et al., 2019)."""

    network: Htsat

    def batch_loss(self, batch: Any) -> Tensor:
        """Return the loss of (wave (batch, time), labels (batch, class))."""
        wave, labels = batch
        with torch.no_grad():
            spectrogram = _mask_stripes(self.network.log_mel(wave))
        logits = self.network.classify(spectrogram).clipwise_logits.float()
        loss: Tensor = functional.binary_cross_entropy_with_logits(logits, labels) * labels.shape[1]
        return loss


def _mask_stripes(spectrogram: Tensor) -> Tensor:
    """Replace one stripe of mel bands and one of frames of each item by the item's mean."""
    batch, mels, frames = spectrogram.shape
    mean = spectrogram.mean(dim=(1, 2), keepdim=True)
    masked = torch.zeros(batch, mels, frames, dtype=torch.bool, device=spectrogram.device)
    for axis, size, widest in ((1, mels, _MASKED_MELS), (2, frames, _MASKED_FRAMES)):
        width = torch.rand(batch, 1, device=spectrogram.device) * widest
        start = torch.rand(batch, 1, device=spectrogram.device) * (size - width)
        position = torch.arange(size, device=spectrogram.device)
        stripe = (position >= start) & (position < start + width)
        masked |= stripe[:, :, None] if axis == 1 else stripe[:, None, :]
    return torch.where(masked, mean, spectrogram)


def train_detector(
    manifest: Path, shape: DetectorConfig, training: DetectorTraining, folder: Path, progress: Progress = silent
) -> Path:
    """Train a detector on the train split of a manifest; resumes in the same folder.

    Args:
        manifest: ``manifest.jsonl`` of a data set.
        shape: of the network; its number of classes is set from the data.
        training: how long and how fast.
        folder: checkpoints, log, and at the end ``detector/`` with the averaged weights.
        progress: told after each step.

    Returns:
        The folder with the weights.

    Raises:
        DataError: too little data, or the loss became NaN.
        OutputError: the weights cannot be written.
    """
    bank = load_clips(manifest, "train", shape.sample_rate, progress)
    if len(bank.labels) < 2:
        raise DataError(f"'{manifest}' has {len(bank.labels)} class to train on; a detector needs at least 2.")
    shape = shape.model_copy(update={"classes": len(bank.labels)})
    torch.manual_seed(training.seed)
    module = DetectorModule(Htsat(shape), training)
    network = run(module, DetectorItems(bank, training), folder, progress)
    weights = folder / "detector"
    save_detector(weights, network, bank.labels)
    return weights
