"""Training the separator on pairs of anchor segments."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from querysep.anchors.catalog import Catalog, read_catalog
from querysep.anchors.label_bank import joined, label_bank
from querysep.dsp.stft import stft
from querysep.errors import DataError
from querysep.model import Model, ModelConfig, ModelShape, TrainedDetector, save_model
from querysep.progress import Progress, silent
from querysep.separation.build import build_separator
from querysep.separation.compact import CompactUnet
from querysep.separation.config import SeparatorConfig
from querysep.separation.network import SeparatorNetwork
from querysep.training.beginning import begin_from, same_embeddings
from querysep.training.config import SeparatorTraining
from querysep.training.runner import QueryModule, is_begun, run
from querysep.training.separator_items import Item, SeparatorItems, validation_items

_VALIDATED = 64  # mixtures
_BATCH = 8


class SeparatorModule(QueryModule[SeparatorNetwork]):
    """Energy of the error over that of the mixture, in dB with a floor, for both queries of each mixture.

    The error is taken between spectrograms: with a mixture of fixed level, it is the SNR up to a constant, it is
    finite where the answer is silence, and it needs no inverse transform.
    """

    network: SeparatorNetwork
    training_config: SeparatorTraining

    def __init__(self, network: SeparatorNetwork, training: SeparatorTraining, validation: Sequence[Item] = ()) -> None:
        super().__init__(network, training)
        self._validation = tuple(validation)

    def validate(self) -> dict[str, float]:
        """Return the mean SDR improvement over the mixtures of the validation side, dB."""
        if not self._validation:
            return {}
        return {"validation_sdri_db": mean_sdri_db(self.average, self._validation)}

    def batch_loss(self, batch: Any) -> Tensor:
        """Return the loss of a batch of ``Mix``: segments (batch, source, time), conditions (batch, 2, condition_dim).

        And which of the two queries are in the mixture: wanted (batch, 2).
        """
        segments, conditions, wanted = batch
        config = self.network.config
        with torch.no_grad(), torch.autocast(segments.device.type, enabled=False):
            if segments.shape[1] > 2:
                # The rest is never asked for, so it needs one transform only.
                segments = torch.cat((segments[:, :2], segments[:, 2:].sum(dim=1, keepdim=True)), dim=1)
            sources = stft(segments, config.n_fft, config.hop)
            mixture = sources.sum(dim=1)
            targets = (sources[:, :2] * wanted[:, :, None, None]).flatten(0, 1)
        mask = mask_for_pairs(self.network, mixture.abs(), conditions)
        mixtures = mixture.repeat_interleave(2, dim=0)
        error = (targets - mask * mixtures).abs().square().sum(dim=(1, 2))
        floor = 10.0 ** (-self.training_config.snr_floor_db / 10.0)
        energy = mixtures.abs().square().sum(dim=(1, 2)).clamp(min=1e-8)
        return (10.0 * torch.log10(error / energy + floor)).mean()


@torch.no_grad()
def mean_sdri_db(network: SeparatorNetwork, items: Sequence[Item]) -> float:
    """Return by how much the SNR over the whole length gets better, in the mean over both queries of each mixture.

    Args:
        network: a separator, in eval mode.
        items: mixtures whose queries are all in them.
    """
    device = next(network.parameters()).device
    improvements = []
    for first in range(0, len(items), _BATCH):
        segments, conditions, _ = (
            torch.stack(parts).to(device) for parts in zip(*items[first : first + _BATCH], strict=True)
        )
        mixtures = segments.sum(dim=1, keepdim=True).repeat_interleave(2, dim=0)
        targets = segments[:, :2].flatten(0, 1)[:, None]
        estimates = network(mixtures, conditions.flatten(0, 1)).float()
        before, after = ((targets - guess).square().sum(dim=(1, 2)) for guess in (mixtures, estimates))
        improvements.append(10.0 * torch.log10(before.clamp(min=1e-12) / after.clamp(min=1e-12)))
    return float(torch.cat(improvements).mean())


def _validation(catalog: Catalog) -> list[Item]:
    """Return fixed mixtures of the validation side; none where it has not two classes."""
    classes = {anchor.label for anchor in catalog.anchors if anchor.split == "validation"}
    return validation_items(catalog, _VALIDATED, seed=0) if len(classes) > 1 else []


def mask_for_pairs(network: SeparatorNetwork, magnitude: Tensor, conditions: Tensor) -> Tensor:
    """Return the masks of two queries for each mixture.

    Args:
        network: a separator; ours runs its way down once for both queries.
        magnitude: shape (batch, freq, frame).
        conditions: shape (batch, 2, condition_dim).

    Returns:
        Masks, shape (2 * batch, freq, frame).
    """
    flat = conditions.flatten(0, 1)
    if not isinstance(network, CompactUnet):
        return network.mask_of_magnitude(magnitude.repeat_interleave(2, dim=0), flat)
    images = [image.repeat_interleave(2, dim=0) for image in network.encode(magnitude)]
    mask = torch.sigmoid(network.decode(images, flat, magnitude.shape[-1]).float())
    return torch.cat((mask, mask[:, -1:]), dim=1)


@dataclass(frozen=True)
class Provenance:
    """What the weights' config and model card say of where they come from."""

    name: str
    licence: str
    trained_on: str


def train_separator(
    location: Path | str,
    detector: TrainedDetector,
    shape: SeparatorConfig,
    training: SeparatorTraining,
    folder: Path,
    provenance: Provenance,
    progress: Progress = silent,
    *,
    start: Model | None = None,
) -> Path:
    """Train a separator on an anchor catalog; resumes in the same folder.

    Args:
        location: of the store with the anchors, from ``querysep mine``.
        detector: the one that mined the catalog; it goes into the model.
        shape: of the network.
        training: how long and how fast.
        folder: checkpoints, log, and at the end ``model/``: a whole model with the averaged weights in float16.
        provenance: for the model's config and card.
        progress: told after each step.
        start: a model whose separator to begin from; if its detector gives the same latent embeddings, its label bank
            is taken over for the classes that the catalog has not.

    Returns:
        The folder with the weights.

    Raises:
        DataError: the catalog is missing, too small or does not fit, or the loss became NaN.
        ConfigError: the start has another shape.
        OutputError: the weights cannot be written.
    """
    catalog = read_catalog(location)
    if catalog.latents.shape[1] != shape.condition_dim or catalog.sample_rate != shape.sample_rate:
        raise DataError(
            f"The catalog has latent embeddings of {catalog.latents.shape[1]} values at {catalog.sample_rate} Hz; the "
            f"separator takes conditions of {shape.condition_dim} at {shape.sample_rate} Hz. Choose the preset that "
            "the detector was trained with."
        )
    if catalog.detector != detector.hash:
        raise DataError(
            f"The catalog at '{location}' was mined by another detector (hash {catalog.detector}, this one "
            f"{detector.hash}). Mine again with this detector."
        )
    torch.manual_seed(training.seed)
    network = build_separator(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None and not is_begun(folder):
        begin_from(network, start, catalog)
    module = SeparatorModule(network, training, _validation(catalog))
    trained = run(module, SeparatorItems(catalog, training), folder, progress)
    config = ModelConfig(
        name=provenance.name,
        licence=provenance.licence,
        trained_on=provenance.trained_on,
        labels=detector.labels,
        shape=ModelShape(detector=detector.network.config, separator=shape),
    )
    model = folder / "model"
    bank = label_bank(catalog, detector.network)
    if start is not None and start.label_bank is not None and same_embeddings(start, catalog):
        bank = joined(bank, detector.labels, start.label_bank, start.labels)
    save_model(model, config, detector.network, trained, _card(provenance), half=True, label_bank=bank)
    return model


def _card(provenance: Provenance) -> str:
    return (
        f"# {provenance.name}\n\nA querysep model: detector and separator.\n\n"
        f"- Licence: {provenance.licence}\n- Trained on: {provenance.trained_on}\n"
    )
