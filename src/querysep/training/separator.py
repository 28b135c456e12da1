"""Training the separator on pairs of anchor segments."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc

from querysep.anchors.catalog import Catalog, read_catalog
from querysep.anchors.label_bank import joined, label_bank
from querysep.dsp.stft import stft
from querysep.errors import DataError
from querysep.model import Model, ModelConfig, ModelShape, TrainedDetector, save_model
from querysep.progress import Progress, silent
from querysep.separation.build import build_separator
from querysep.separation.config import SeparatorConfig
from querysep.separation.network import SeparatorNetwork
from querysep.training.batches import Crowd
from querysep.training.beginning import begin_from, same_embeddings
from querysep.training.config import SeparatorTraining
from querysep.training.losses import compressed_error, presence_loss
from querysep.training.rivals import Rivals, pairs_of
from querysep.training.run_folder import (
    RunRecord,
    RunRequest,
    Source,
    begin_run,
    content_hash,
    finish_run,
    replacing,
)
from querysep.training.runner import QueryModule, check_device, is_begun, is_finished, last_step, run
from querysep.training.separator_items import Item, SeparatorItems, validation_items
from querysep.training.variations import vary_catalog

_VALIDATED = 200  # mixtures: of two weights that differ by 0.2 dB, 64 often choose the wrong ones
_BATCH = 8


class SeparatorModule(QueryModule[SeparatorNetwork]):
    """Energy of the error over that of the mixture, in dB with a floor, for both queries of each mixture.

    The error is taken between spectrograms: with a mixture of fixed level, it is the SNR up to a constant, it is
    finite where the answer is silence, and it needs no inverse transform.
    """

    network: SeparatorNetwork
    training_config: SeparatorTraining

    def __init__(
        self,
        network: SeparatorNetwork,
        training: SeparatorTraining,
        validation: Sequence[Item] = (),
        rivals: Rivals | None = None,
    ) -> None:
        super().__init__(network, training)
        self._validation = tuple(validation)
        self._rivals = rivals

    def validate(self) -> dict[str, float]:
        """Return the mean SDR improvement on the validation side, dB, and how well presence is told (AUC), if it is."""
        if not self._validation:
            return {}
        figures = {"validation_sdri_db": mean_sdri_db(self.average, self._validation)}
        if self._rivals is not None:
            figures |= presence_auc(self.average, self._validation, self._rivals)
        return figures

    def batch_loss(self, batch: Any) -> Tensor:
        """Return the loss of a batch of ``Mix``: segments (batch, source, time), conditions (batch, 2, condition_dim).

        And which of the two queries are in the mixture: wanted (batch, 2).
        """
        segments, conditions, wanted, anchors = batch
        config = self.network.config
        with torch.no_grad(), torch.autocast(segments.device.type, enabled=False):
            if segments.shape[1] > 2:
                # The rest is never asked for, so it needs one transform only.
                segments = torch.cat((segments[:, :2], segments[:, 2:].sum(dim=1, keepdim=True)), dim=1)
            sources = stft(segments, config.n_fft, config.hop)
            mixture = sources.sum(dim=1)
            targets = sources[:, :2] * wanted[:, :, None, None]
            shared = _product(targets, mixture[:, None])
            target_power, power = _product(targets, targets), _product(mixture, mixture)[:, None]
        mask, logits = answers_for_pairs(self.network, power[:, 0].sqrt(), conditions)
        mask = mask.reshape(-1, 2, *mask.shape[1:])
        # |target - mask * mixture|^2, without complex numbers in what the gradient goes through
        error = (mask * (mask * power - 2.0 * shared) + target_power).sum(dim=(2, 3)).clamp(min=0.0).flatten()
        floor = error.new_tensor(self.training_config.floors)[wanted.flatten().long()]
        energy = power.sum(dim=(2, 3)).clamp(min=1e-8).repeat_interleave(2)
        loss = (10.0 * torch.log10(error / energy + floor)).mean()
        if self.training_config.compressed_weight:
            loss = loss + self.training_config.compressed_weight * compressed_error(mask, power, target_power)
        if logits is None or self._rivals is None:
            return loss
        known = pairs_of(anchors, wanted, self._rivals).to(logits.device)
        return loss + self.training_config.presence_weight * presence_loss(logits, known)


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Return the real part of one times the conjugate of the other."""
    return one.real * other.real + one.imag * other.imag


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
            torch.stack(parts).to(device) for parts in list(zip(*items[first : first + _BATCH], strict=True))[:3]
        )
        mixtures = segments.sum(dim=1, keepdim=True).repeat_interleave(2, dim=0)
        targets = segments[:, :2].flatten(0, 1)[:, None]
        estimates = network(mixtures, conditions.flatten(0, 1)).float()
        before, after = ((targets - guess).square().sum(dim=(1, 2)) for guess in (mixtures, estimates))
        improvements.append(10.0 * torch.log10(before.clamp(min=1e-12) / after.clamp(min=1e-12)))
    return float(torch.cat(improvements).mean())


@torch.no_grad()
def presence_auc(network: SeparatorNetwork, items: Sequence[Item], rivals: Rivals) -> dict[str, float]:
    """Return how often a query that is there scores above one that is not, by torchmetrics; empty if none is scored.

    Args:
        network: a separator, in eval mode.
        items: mixtures.
        rivals: of the items' anchors.
    """
    device = next(network.parameters()).device
    segments, conditions, wanted, anchors = (torch.stack(parts) for parts in zip(*items, strict=True))
    config = network.config
    logits = []
    for part in torch.split(segments.sum(dim=1), _BATCH):
        magnitude = stft(part.to(device), config.n_fft, config.hop).abs()
        scores = network.presence_logits(network.listen(magnitude), conditions.flatten(0, 1).to(device))
        if scores is None:
            return {}
        logits.append(scores.float().cpu())
    known = pairs_of(anchors, wanted, rivals)
    counted = ~known.isnan()
    return {"validation_presence_auc": float(binary_auroc(torch.cat(logits)[counted], known[counted].int()))}


def _validation(catalog: Catalog) -> list[Item]:
    """Return fixed mixtures of the validation side; none where it has not two classes."""
    classes = {anchor.label for anchor in catalog.anchors if anchor.split == "validation"}
    return validation_items(catalog, _VALIDATED, seed=0) if len(classes) > 1 else []


def answers_for_pairs(network: SeparatorNetwork, magnitude: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return the masks of two queries for each mixture, and what the network says of presence, if it does.

    Args:
        network: a separator.
        magnitude: shape (batch, freq, frame).
        conditions: shape (batch, 2, condition_dim).

    Returns:
        Masks, shape (2 * batch, freq, frame), and the log-odds of every query in every mixture, shape (batch, 2 *
        batch).
    """
    flat = conditions.flatten(0, 1)
    heard = network.listen(magnitude)
    # channels last, as a repetition of the image itself would not be
    twice = [one.movedim(1, -1).repeat_interleave(2, dim=0).movedim(-1, 1) for one in heard]
    return network.answer(twice, flat, magnitude.shape[-1]), network.presence_logits(heard, flat)


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
    request: RunRequest | None = None,
) -> Path:
    """Train a separator on an anchor catalog; goes on in the same folder, also after its end.

    Args:
        location: of the store with the anchors, from ``querysep mine``.
        detector: the one that mined the catalog; it goes into the model.
        shape: of the network.
        training: how long and how fast.
        folder: ``run.yaml``, checkpoints, log, and at the end ``model/``: a whole model with the averaged weights in
            float16.
        provenance: for the model's config and card.
        progress: called after each step.
        start: a model whose separator to begin from; if its detector gives the same latent embeddings, its label bank
            is taken over for the classes that the catalog has not.
        request: where all this came from, for ``run.yaml``, and whether it may be other than before.

    Returns:
        The folder with the weights.

    Raises:
        DataError: the catalog is missing, too small or does not fit, or the loss became NaN.
        ConfigError: the start has another shape, the device is not there, or the run in the folder was begun with
            something else.
        OutputError: the weights cannot be written.
    """
    check_device(training)
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
    model = folder / "model"
    request = request or RunRequest(data=str(location))
    record = _record(catalog, detector, shape, training, provenance, start, request)
    begin_run(folder, record, model, change=request.change)
    if is_finished(folder, training, model):
        return model
    torch.manual_seed(training.seed)
    network = build_separator(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None and not is_begun(folder):
        begin_from(network, start, catalog)
    varied = catalog
    if training.variations or training.noisy_query_share:
        varied = vary_catalog(catalog, detector.network, training.variations, folder / "variations", progress)
    items = SeparatorItems(varied, training)
    module = SeparatorModule(network, training, _validation(catalog), items.rivals)
    trained = run(module, items, folder, progress)
    if Crowd.here().rank:
        return model  # the first process writes it
    config = ModelConfig(
        name=provenance.name,
        licence=provenance.licence,
        trained_on=provenance.trained_on,
        labels=detector.labels,
        shape=ModelShape(detector=detector.network.config, separator=shape),
    )
    bank = label_bank(catalog, detector.network)
    if start is not None and start.label_bank is not None and same_embeddings(start, catalog):
        bank = joined(bank, detector.labels, start.label_bank, start.labels)
    with replacing(model) as new:
        save_model(new, config, detector.network, trained, _card(provenance), half=True, label_bank=bank)
    finish_run(folder, last_step(folder))
    return model


def _record(
    catalog: Catalog,
    detector: TrainedDetector,
    shape: SeparatorConfig,
    training: SeparatorTraining,
    provenance: Provenance,
    start: Model | None,
    request: RunRequest,
) -> RunRecord:
    """Return what ``run.yaml`` is to say."""
    anchors = (anchor.model_dump_json() for anchor in catalog.anchors)
    return RunRecord(
        command="separator",
        preset=request.preset,
        network=shape.model_dump(mode="json"),
        settings=training.model_dump(mode="json"),
        data=Source(location=request.data, hash=content_hash((catalog.facts.model_dump_json(), *anchors))),
        detector=Source(location=request.detector, hash=detector.hash),
        start=Source(location=request.start, hash=start.hash) if start is not None else None,
        model=asdict(provenance),
    )


def _card(provenance: Provenance) -> str:
    return (
        f"# {provenance.name}\n\nA querysep model: detector and separator.\n\n"
        f"- Licence: {provenance.licence}\n- Trained on: {provenance.trained_on}\n"
    )
