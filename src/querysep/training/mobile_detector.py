"""The loss of the detector that begins from YAMNet: when each class sounds, and embeddings that group classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from querysep.detection.mobile import FROZEN, MobileDetector, pooled
from querysep.detection.yamnet import Yamnet
from querysep.training.config import DetectorTraining
from querysep.training.masking import mask_stripes
from querysep.training.runner import QueryModule
from querysep.training.scene_clips import SceneBatch

_TEMPERATURE = 0.1
_POOLED_WEIGHT, _PAIR_WEIGHT = 0.5, 10.0
_FLOOR = -6.9  # log-mel of silence


@dataclass(frozen=True)
class ValidationScenes:
    """Recordings that are only listened to.

    Attributes:
        waves: shape (clip, time).
        groups: class of each, shape (clip,).
        origins: of each, shape (clip,).
    """

    waves: Tensor
    groups: Tensor
    origins: Tensor


@torch.no_grad()
def retrieval_map(network: MobileDetector, clips: ValidationScenes, batch: int = 32) -> float:
    """Return how well each recording finds those of its class and other origins, by cosine: mean average precision."""
    device = next(network.parameters()).device
    latents = torch.cat([network(part.to(device)).latent.cpu() for part in torch.split(clips.waves, batch)])
    unit = functional.normalize(latents, dim=1)
    likeness = unit @ unit.T
    likeness[clips.origins[:, None] == clips.origins[None]] = -2.0
    order = likeness.argsort(dim=1, descending=True)
    foreign = torch.gather(likeness, 1, order) > -1.5
    relevant = (clips.groups[order] == clips.groups[:, None]) & foreign
    rank = torch.arange(1, len(unit) + 1)
    precision = relevant.cumsum(dim=1) / rank
    found = relevant.sum(dim=1)
    precisions = (precision * relevant).sum(dim=1) / found.clamp(min=1)
    groups = clips.groups[found > 0]
    means = [precisions[found > 0][groups == group].mean() for group in groups.unique()]
    return float(torch.stack(means).mean()) if means else 0.0


class MobileModule(QueryModule[MobileDetector]):
    """Cross-entropy of each frame and of the whole, and embeddings that lie near those of their class.

    The first layers of the trunk stay as they are; the others begin from YAMNet's and are asked to say of classes
    without clips what YAMNet says. Embeddings of items with one loudest sound are told apart by class in two ways, both
    by cosine: by a prototype of each class (a softmax over all classes but those that may be meant, too), and among
    the items of a batch, where the items of one class and another origin attract (supervised contrastive loss, Khosla
    et al., NeurIPS 2020). Cosines of two items also follow those of YAMNet's embeddings.

    Args:
        network: the detector, its trunk with YAMNet's weights.
        training: settings.
        teacher: YAMNet; None: nothing but the layer of the classes learns.
        asked: classes that the data set labels.
        groups: number of classes that an item's loudest sound may have.
        apart: which of these exclude each other, shape (group, group), bool.
        validation: recordings of the validation side.
    """

    network: MobileDetector
    training_config: DetectorTraining
    apart: Tensor

    def __init__(
        self,
        network: MobileDetector,
        training: DetectorTraining,
        teacher: Yamnet | None,
        asked: Sequence[int],
        apart: Tensor,
        validation: ValidationScenes | None = None,
    ) -> None:
        super().__init__(network, training)
        self._validation = validation
        self._asked = list(asked)
        taken = set(asked)
        self._kept = [number for number in range(network.config.trunk_classes) if number not in taken]
        self.prototypes = nn.Linear(network.config.latent_dim, len(apart), bias=False)
        self.register_buffer("apart", apart, persistent=False)
        self._teacher = [] if teacher is None else [teacher]  # in a list: no part of what is trained and saved
        if teacher is None:
            network.requires_grad_(requires_grad=False)
            network.head.requires_grad_(requires_grad=True)
        network.trunk.convolutions[:FROZEN].requires_grad_(requires_grad=False)

    def learners(self) -> list[nn.Module]:
        """Return what is trained: all but the first layers of the trunk, and the prototypes; or the last layer."""
        network = self.network
        if not self._teacher:
            return [network.head]
        return [
            network.trunk.convolutions[FROZEN:],
            *(part for name, part in network.named_children() if name != "trunk"),
            self.prototypes,
        ]

    def validate(self) -> dict[str, float]:
        """Return how well embeddings retrieve recordings of other origins on the validation side."""
        return {} if self._validation is None else {"validation_map": retrieval_map(self.average, self._validation)}

    def batch_loss(self, batch: SceneBatch) -> Tensor:
        """Return the loss of a batch."""
        network, config = self.network, self.network.config
        if not self._teacher:
            network.eval()  # its dropout stays out of it
        with torch.no_grad():
            with torch.autocast(batch.sounds.device.type, enabled=False):
                waves, truth = batch.scenes(config.frame_time)
                spectrogram = network.log_mel(waves)
                spectrogram = _without_bands(spectrogram, batch.cutoff_hz, network)
                spectrogram = mask_stripes(spectrogram.transpose(1, 2)).transpose(1, 2)
            early = network.trunk.features(spectrogram[:, None], last=FROZEN)[-1]
        frames = truth.shape[1]
        taps = [early, *network.trunk.features(early, FROZEN)]
        logits, latent = network.read(taps, frames)
        logits = logits.float()
        loss = self._frame_loss(logits[:, :, self._asked], truth[:, :, self._asked])
        if not self._teacher:
            return loss
        teacher = self._teacher[0].to(early.device)
        with torch.no_grad():
            taught = teacher.trunk.features(early, FROZEN)[-1].mean(dim=3).transpose(1, 2).float()
        loss = loss + self.training_config.keep_weight * self._keep_loss(logits, taught, teacher)
        return loss + self.training_config.group_weight * self._group_loss(latent, taught, batch)

    def _frame_loss(self, logits: Tensor, truth: Tensor) -> Tensor:
        known = ~truth.isnan()
        wanted = truth.nan_to_num(0.0)
        each = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * known
        framewise = each.sum(dim=2).mean()
        # a class of which only some frames are unknown is known in the whole if it sounds in one of the others
        whole, sure = wanted.amax(dim=1), known.all(dim=1) | (wanted.amax(dim=1) > 0)
        clipwise = functional.binary_cross_entropy_with_logits(pooled(logits), whole, reduction="none") * sure
        self.log("frame_loss", framewise)
        loss: Tensor = framewise + _POOLED_WEIGHT * clipwise.sum(dim=1).mean()
        return loss

    def _keep_loss(self, logits: Tensor, taught: Tensor, teacher: Yamnet) -> Tensor:
        with torch.no_grad():
            scores = torch.sigmoid(teacher.classifier(taught))[:, :, self._kept]
            stride = -(-logits.shape[1] // scores.shape[1])
            scores = scores.repeat_interleave(stride, dim=1)[:, : logits.shape[1]]
        loss: Tensor = functional.binary_cross_entropy_with_logits(logits[:, :, self._kept], scores) * len(self._kept)
        self.log("keep_loss", loss)
        return loss

    def _group_loss(self, latent: Tensor, taught: Tensor, batch: SceneBatch) -> Tensor:
        chosen = torch.nonzero(batch.group >= 0).flatten()
        group, origin = batch.group[chosen], batch.origin[chosen]
        unit = functional.normalize(latent[chosen], dim=1)
        likeness = unit @ unit.T
        apart = self.apart
        cosines = functional.linear(unit, functional.normalize(self.prototypes.weight, dim=1))
        own = functional.one_hot(group, len(apart)).bool()
        scores = (cosines / _TEMPERATURE).masked_fill(~(apart[group] | own), -torch.inf)
        prototype_loss = functional.cross_entropy(scores, group)
        positive = (group[:, None] == group[None]) & (origin[:, None] != origin[None])
        other = apart[group][:, group] | positive
        contrast = likeness / _TEMPERATURE - torch.logsumexp(
            (likeness / _TEMPERATURE).masked_fill(~other, -torch.inf), dim=1, keepdim=True
        )
        paired = positive.any(dim=1)
        pairs = (contrast.masked_fill(~positive, 0.0).sum(dim=1) / positive.sum(dim=1).clamp(min=1))[paired]
        contrast_loss = -pairs.mean() if len(pairs) else pairs.sum()
        with torch.no_grad():
            roots = taught[chosen].mean(dim=1).clamp(min=0.0).sqrt()
            wanted = functional.normalize(roots - roots.mean(dim=0), dim=1)
            wanted = 0.5 * (wanted @ wanted.T + (group[:, None] == group[None]))
        pair_loss = (likeness - wanted).square().mean()
        for name, one in (("prototype", prototype_loss), ("contrast", contrast_loss), ("pair", pair_loss)):
            self.log(f"{name}_loss", one)
        return prototype_loss + contrast_loss + _PAIR_WEIGHT * pair_loss


def _without_bands(spectrogram: Tensor, cutoff_hz: Tensor, network: MobileDetector) -> Tensor:
    """Silence the mel bands above a frequency, of each item its own."""
    config, filters = network.config, network.trunk.filters
    bins_hz = torch.linspace(0.0, config.sample_rate / 2, len(filters), device=filters.device)
    center_hz = (filters * bins_hz[:, None]).sum(dim=0) / filters.sum(dim=0).clamp(min=1e-9)
    return torch.where(center_hz[None, None] > cutoff_hz[:, None, None], _FLOOR, spectrogram)
