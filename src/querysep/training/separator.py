"""Training the separator on pairs of anchor segments."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional
from torchmetrics.functional.classification import binary_auroc

from querysep.anchors.catalog import Catalog, read_catalog
from querysep.anchors.label_bank import joined, label_bank
from querysep.anchors.relations import AnchorRelations
from querysep.dsp.stft import istft, stft
from querysep.errors import DataError
from querysep.model import Model, ModelConfig, ModelShape, TrainedDetector, save_model
from querysep.progress import Progress, silent
from querysep.separation.build import build_separator
from querysep.separation.config import SeparatorConfig
from querysep.separation.network import SeparatorNetwork
from querysep.training.augmentations import Augmentation
from querysep.training.batches import Crowd
from querysep.training.config import SeparatorTraining
from querysep.training.mixtures import MixtureBatch, Mixtures, queries_present, validation_mixtures
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
from querysep.training.sampler import SAMPLERS, Sampler
from querysep.training.start import begin_from, same_embeddings
from querysep.training.variations import vary_catalog

_VALIDATED = 200  # mixtures: of two weights that differ by 0.2 dB, 64 often choose the wrong ones
_COMPRESSION, _LEAST_POWER, _LEAST_MASK = 0.3, 1e-12, 1e-5


@dataclass(frozen=True)
class Answers:
    """What a network answered to a batch, and what it should have: all that a loss may need.

    Attributes:
        mask: of both queries of each mixture, shape (batch, 2, freq, frame).
        mixture: spectrogram, shape (batch, 1, freq, frame), complex.
        targets: spectrograms of what was asked for, shape (batch, 2, freq, frame), complex; 0 where silence is right.
        wanted: shape (batch, 2), 0 where silence is right, else 1.
        config: of the network.
    """

    mask: Tensor
    mixture: Tensor
    targets: Tensor
    wanted: Tensor
    config: SeparatorConfig

    @cached_property
    def power(self) -> Tensor:
        """Of the mixture, shape (batch, 1, freq, frame)."""
        return _product(self.mixture, self.mixture)

    @cached_property
    def target_power(self) -> Tensor:
        """Of the targets, shape (batch, 2, freq, frame)."""
        return _product(self.targets, self.targets)


Loss = Callable[[Answers, SeparatorTraining], Tensor]
"""Takes answers and the settings, and returns the mean loss; chosen by its name in the settings, or given."""


def snr_loss(answers: Answers, training: SeparatorTraining) -> Tensor:
    """Return the energy of the error over that of the mixture, in dB, with a floor.

    The error is taken between spectrograms: with a mixture of fixed level, it is the SNR up to a constant, it is finite
    where silence is right, and it needs no inverse transform.
    """
    mask, shared = answers.mask, _product(answers.targets, answers.mixture)
    # |target - mask * mixture|^2, without complex numbers in what the gradient goes through
    error = (mask * (mask * answers.power - 2.0 * shared) + answers.target_power).sum(dim=(2, 3)).clamp(min=0.0)
    floor = error.new_tensor(training.floors)[answers.wanted.long()]
    energy = answers.power.sum(dim=(2, 3)).clamp(min=1e-8)
    return (10.0 * torch.log10(error / energy + floor)).mean()


def absolute_loss(answers: Answers, training: SeparatorTraining) -> Tensor:
    """Return the mean absolute error of the waveform, as in the paper; over that of the mixture, as levels vary."""
    config, spectrogram = answers.config, answers.mixture
    time = (spectrogram.shape[-1] - 1) * config.hop
    error = istft((spectrogram * answers.mask - answers.targets).flatten(0, 1), config.n_fft, config.hop, time)
    level = istft(spectrogram[:, 0], config.n_fft, config.hop, time).abs().mean(dim=1).clamp(min=1e-6)
    return 20.0 * (error.abs().mean(dim=1) / level.repeat_interleave(2)).mean()


LOSSES: Mapping[str, Loss] = {"snr": snr_loss, "absolute": absolute_loss}


def compressed_error(answers: Answers) -> Tensor:
    """Return the mean squared error between magnitudes to the power of 0.3, the mixture's level being 1.

    What is soft beside what is loud counts more in it than in the error's energy (power-law compression, as in Ephrat
    et al., 2018).
    """
    power = answers.power
    relative, wanted = (
        (one / power.mean(dim=(2, 3), keepdim=True).clamp(min=1e-10)).clamp(min=_LEAST_POWER).pow(0.5 * _COMPRESSION)
        for one in (power, answers.target_power)
    )
    estimate = answers.mask.clamp(min=_LEAST_MASK).pow(_COMPRESSION) * relative
    return (estimate - wanted).square().mean()


def presence_loss(logits: Tensor, known: Tensor) -> Tensor:
    """Return the cross-entropy of presence, where present and absent queries count alike.

    Args:
        logits: any shape.
        known: same shape: 1, 0, or NaN where a logit does not count.
    """
    there, absent = (known == 1).float(), (known == 0).float()
    losses = functional.binary_cross_entropy_with_logits(logits.float(), there, reduction="none")
    # weighted, not picked: a GPU need not be waited for
    return torch.stack([(losses * one).sum() / one.sum().clamp(min=1.0) for one in (there, absent)]).mean()


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Return the real part of one times the conjugate of the other."""
    return one.real * other.real + one.imag * other.imag


class SeparatorModule(QueryModule[SeparatorNetwork]):
    """The separator under training: mixtures are rendered where it is, and both queries of each are answered.

    Args:
        network: the separator.
        training: settings.
        validation: mixtures that the averaged weights are measured on.
        relations: of the catalog's anchors; None: presence is not trained.
        loss: of the masks; None: as ``training.loss`` says.
    """

    network: SeparatorNetwork
    training_config: SeparatorTraining

    def __init__(
        self,
        network: SeparatorNetwork,
        training: SeparatorTraining,
        validation: Sequence[MixtureBatch] = (),
        relations: AnchorRelations | None = None,
        loss: Loss | None = None,
    ) -> None:
        super().__init__(network, training)
        self._validation, self._relations = validation, relations
        self._loss = loss or LOSSES[training.loss]

    def validate(self) -> dict[str, float]:
        """Return the mean SDR improvement on the validation side, dB, and how well presence is told (AUC), if it is."""
        return validation_figures(self.average, self._validation, self._relations) if self._validation else {}

    def batch_loss(self, batch: MixtureBatch) -> Tensor:
        """Return the loss of a batch."""
        config = self.network.config
        with torch.no_grad(), torch.autocast(batch.sounds.device.type, enabled=False):
            segments = batch.segments()
            if segments.shape[1] > 2:
                # What is never asked for needs one transform only.
                segments = torch.cat((segments[:, :2], segments[:, 2:].sum(dim=1, keepdim=True)), dim=1)
            sources = stft(segments, config.n_fft, config.hop)
            mixture = sources.sum(dim=1, keepdim=True)
            targets = sources[:, :2] * batch.wanted[:, :, None, None]
        mask, logits = answers_for_pairs(self.network, mixture[:, 0].abs(), batch.conditions)
        answers = Answers(mask.reshape(-1, 2, *mask.shape[1:]), mixture, targets, batch.wanted, config)
        loss = self._loss(answers, self.training_config)
        if self.training_config.compressed_weight:
            loss = loss + self.training_config.compressed_weight * compressed_error(answers)
        if logits is None or self._relations is None:
            return loss
        known = queries_present(batch.anchors, batch.wanted, self._relations).to(logits.device)
        return loss + self.training_config.presence_weight * presence_loss(logits, known)


@torch.no_grad()
def validation_figures(
    network: SeparatorNetwork, mixtures: Sequence[MixtureBatch], relations: AnchorRelations | None = None
) -> dict[str, float]:
    """Return how well a separator does.

    Args:
        network: in eval mode.
        mixtures: on the CPU; both queries of each are in it.
        relations: of their anchors; None: presence is not measured.

    Returns:
        ``validation_sdri_db``: by how much the SNR over the whole length gets better, in the mean over the queries;
        ``validation_presence_auc``: how often a query that is there scores above one that is not (torchmetrics), where
        the network tells presence.
    """
    device, config = next(network.parameters()).device, network.config
    conditions, wanted, anchors = (
        torch.cat([getattr(batch, name) for batch in mixtures]) for name in ("conditions", "wanted", "anchors")
    )
    improvements, logits = [], []
    for batch in mixtures:
        segments = batch.segments()
        mixture = segments.sum(dim=1, keepdim=True).repeat_interleave(2, dim=0).to(device)
        targets = segments[:, :2].flatten(0, 1)[:, None].to(device)
        estimates = network(mixture, batch.conditions.flatten(0, 1).to(device)).float()
        before, after = ((targets - one).square().sum(dim=(1, 2)) for one in (mixture, estimates))
        improvements.append(10.0 * torch.log10(before.clamp(min=1e-12) / after.clamp(min=1e-12)))
        if relations is not None:
            encoded = network.listen(stft(mixture[::2, 0], config.n_fft, config.hop).abs())
            scores = network.presence_logits(encoded, conditions.flatten(0, 1).to(device))
            logits += [] if scores is None else [scores.float().cpu()]
    figures = {"validation_sdri_db": float(torch.cat(improvements).mean())}
    if relations is not None and logits:
        known = queries_present(anchors, wanted, relations)
        counted = ~known.isnan()
        figures["validation_presence_auc"] = float(binary_auroc(torch.cat(logits)[counted], known[counted].int()))
    return figures


def _validation(catalog: Catalog) -> list[MixtureBatch]:
    """Return fixed mixtures of the validation side; none where it has not two classes."""
    classes = {anchor.label for anchor in catalog.anchors if anchor.split == "validation"}
    return validation_mixtures(catalog, _VALIDATED, seed=0) if len(classes) > 1 else []


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
    build: Callable[[SeparatorConfig], SeparatorNetwork] = build_separator,
    sampler: Sampler | None = None,
    augment: Augmentation | None = None,
    loss: Loss | None = None,
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
        build: makes the network; a variant is saved as weights of the same shape, and loaded by the same function.
        sampler: plans the mixtures; None: as ``training.mixing`` says.
        augment: varies sounds; None: as ``training.augmentation`` says.
        loss: of the masks; None: as ``training.loss`` says.
        request: where all this came from, for ``run.yaml``, and whether it may be other than before.

    Returns:
        The folder with the weights.

    Raises:
        DataError: the catalog is missing, too small or does not fit, or the loss became NaN.
        ConfigError: the start has another shape, the device is not there, or the run in the folder was begun with
            something else.
        OutputError: the weights cannot be written.
    """
    device = check_device(training)
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
    network = build(shape).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if start is not None and not is_begun(folder):
        begin_from(network, start, catalog)
    varied = catalog
    if training.variations or training.noisy_query_share:
        varied = vary_catalog(catalog, detector.network, training.variations, folder / "variations", progress, device)
    planned = (sampler or SAMPLERS[training.mixing])(varied, training, "train", augment)
    module = SeparatorModule(network, training, _validation(catalog), planned.relations, loss)
    trained = run(module, Mixtures(planned), folder, progress)
    if Crowd.here().rank:
        return model  # the first process writes it
    config = ModelConfig(
        name=provenance.name,
        licence=provenance.licence,
        trained_on=provenance.trained_on,
        labels=detector.labels,
        shape=ModelShape(detector=detector.network.config, separator=shape),
    )
    bank = label_bank(catalog, detector.network, detector.labels)
    if start is not None and start.label_bank is not None and same_embeddings(start, catalog):
        bank = joined(bank, detector.labels, start.label_bank, start.labels)
    with replacing(model) as new:
        card, calibration = _card(provenance), detector.events
        save_model(new, config, detector.network, trained, card, half=True, label_bank=bank, events=calibration)
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
