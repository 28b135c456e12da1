"""A MobileNet over log-mel frames with a transformer for time: small, and it may begin from what YAMNet knows.

The trunk is YAMNet's (Plakal and Ellis, 2019; MobileNet v1, Howard et al., 2017, on 64 mel bands) with its batch norms
folded in. Features of three of its depths, one frame each 80, 160 and 320 ms, meet in a transformer of a frame each
80 ms. Classes are read off each frame; those that the trunk's own layer knows also from the trunk directly.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from querysep.detection.config import MobileConfig
from querysep.detection.network import Detection, DetectorNetwork

N_MELS = 64
TRUNK_DIM = 1024
FROZEN = 11  # convolutions: what hears edges and partials stays as YAMNet has it
_FMIN_HZ, _FMAX_HZ, _WINDOW_S = 125.0, 7_500.0, 0.025
_OFFSET = 1e-3
_LAYERS = (
    (32, 64, 1),
    (64, 128, 2),
    (128, 128, 1),
    (128, 256, 2),
    (256, 256, 1),
    (256, 512, 2),
    *((512, 512, 1),) * 5,
    (512, 1024, 2),
    (1024, 1024, 1),
)
"""Channels in and out, and stride, of the pairs of a depthwise and a pointwise convolution after the first layer."""
_TAPS = (10, 22, 26)  # convolutions whose outputs the transformer sees
_STRIDES = (8, 16, 32)  # spectrogram frames between two of theirs
_RARE = -6.0  # log-odds of a class before anything is known
_LEAST = 1e-6


class Trunk(nn.Module):
    """YAMNet's log-mel front end and convolutions, on sound of any rate of at least 16 kHz.

    Args:
        sample_rate: Hz.
        n_fft: samples in a transform, at least 25 ms.
        hop: samples between frames; 10 ms for YAMNet's weights.
    """

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, n_fft: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        window = torch.hann_window(round(_WINDOW_S * sample_rate), periodic=True)
        # Magnitudes grow with the number of samples under the window; YAMNet's are those of 16 kHz.
        window = functional.pad(window * (16_000 / sample_rate), (0, n_fft - len(window)))
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", _htk_filters(sample_rate, n_fft), persistent=False)
        convolutions = [nn.Conv2d(1, _LAYERS[0][0], 3, stride=2)]
        for before, after, stride in _LAYERS:
            convolutions.append(nn.Conv2d(before, before, 3, stride=stride, groups=before))
            convolutions.append(nn.Conv2d(before, after, 1))
        self.convolutions = nn.ModuleList(convolutions)

    def log_mel(self, wave: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame mel"]:
        """Return the log-mel spectrogram; frame k begins at sample k * hop, and none reaches beyond the end."""
        frames = wave.unfold(-1, self.n_fft, self.hop)
        magnitude = torch.fft.rfft(frames * self.window).abs()
        return torch.log(magnitude @ self.filters + _OFFSET)

    def features(
        self,
        image: Float[Tensor, "batch channel frame mel"],
        first: int = 0,
        last: int = 2 * len(_LAYERS) + 1,
    ) -> list[Tensor]:
        """Return the outputs that the transformer sees, of the convolutions ``first`` to ``last`` - 1.

        Args:
            image: the log-mel spectrogram, shape (batch, 1, frame, 64), frame a multiple of 32; or what the convolution
                before the first put out.
            first: convolution to begin with.
            last: convolution to end before.

        Returns:
            Each of shape (batch, channel, frame2, mel2).
        """
        image = image.to(memory_format=torch.channels_last)
        taps = []
        for number in range(first, last):
            layer = self.convolutions[number]
            assert isinstance(layer, nn.Conv2d)
            if layer.kernel_size[0] == 3:
                image = functional.pad(image, (0, 1, 0, 1) if layer.stride[0] == 2 else (1, 1, 1, 1))
            image = functional.relu(layer(image))
            if number in _TAPS:
                taps.append(image)
        return taps


class MobileDetector(DetectorNetwork):
    """Log-mel spectrogram -> MobileNet -> transformer -> presence map, clipwise probabilities, latent embedding."""

    config: MobileConfig

    def __init__(self, config: MobileConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.trunk = Trunk(config.sample_rate, config.n_fft, config.hop)
        self.trunk_head = nn.Linear(TRUNK_DIM, config.trunk_classes)
        self.projections = nn.ModuleList(nn.Linear(_LAYERS[tap // 2 - 1][1], dim) for tap in _TAPS)
        self.position = nn.Conv1d(dim, dim, 9, padding=4, groups=dim)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim,
                config.heads,
                round(config.mlp_ratio * dim),
                config.dropout,
                functional.gelu,
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, config.classes)
        self.attention = nn.Linear(dim, 1)
        self.trunk_norm = nn.LayerNorm(TRUNK_DIM)
        self.trunk_latent = nn.Linear(TRUNK_DIM, config.latent_dim)
        self.latent = nn.Linear(dim, config.latent_dim)
        for layer in (self.head, self.attention):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.head.bias[config.trunk_classes :] = _RARE

    def log_mel(self, wave: Float[Tensor, "batch time"]) -> Float[Tensor, "batch frame mel"]:
        """Return the spectrogram of a wave and enough silence after it for the strides of all layers."""
        frames = -(-self.count_frames(wave.shape[-1]) * _STRIDES[0] // _STRIDES[-1]) * _STRIDES[-1]
        wanted = (frames - 1) * self.config.hop + self.config.n_fft
        return self.trunk.log_mel(functional.pad(wave, (0, wanted - wave.shape[-1])))[:, :frames]

    def count_frames(self, time: int) -> int:
        """Return how many frames the presence map of ``time`` samples has."""
        return -(-time // self.config.frame_time)

    def read(
        self, taps: Sequence[Tensor], frames: int
    ) -> tuple[Float[Tensor, "batch frame class"], Float[Tensor, "batch latent_dim"]]:
        """Return the log-odds of the classes in each frame, and the latent embedding, of what ``Trunk.features`` gives.

        Args:
            taps: of the three depths, each of shape (batch, channel, frame2, mel).
            frames: that the sound has.
        """
        means = [tap.mean(dim=3).transpose(1, 2) for tap in taps]
        spread = [
            mean.repeat_interleave(stride // _STRIDES[0], dim=1)[:, :frames]
            for mean, stride in zip(means, _STRIDES, strict=True)
        ]
        tokens = torch.stack([layer(one) for layer, one in zip(self.projections, spread, strict=True)]).sum(dim=0)
        tokens = tokens + self.position(tokens.transpose(1, 2)).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        own = functional.pad(self.trunk_head(means[-1]), (0, self.config.classes - self.config.trunk_classes))
        own = own.repeat_interleave(_STRIDES[-1] // _STRIDES[0], dim=1)[:, :frames]
        weights = torch.softmax(self.attention(tokens).float(), dim=1)
        # roots: the few largest features of a sound would else decide alone
        roots = (spread[-1].float() * weights).sum(dim=1).clamp(min=0.0).add(_LEAST).sqrt()
        latent = self.trunk_latent(self.trunk_norm(roots)) + self.latent((tokens.float() * weights).sum(dim=1))
        latent = latent.float()
        latent = latent * torch.rsqrt(latent.square().mean(dim=1, keepdim=True) + _LEAST)
        return self.head(tokens) + own, latent

    def forward(self, wave: Float[Tensor, "batch time"]) -> Detection:
        """Detect; see ``DetectorNetwork``. The presence map has a frame for each config.frame_time samples."""
        logits, latent = self.read(self.trunk.features(self.log_mel(wave)[:, None]), self.count_frames(wave.shape[-1]))
        return Detection(pooled(logits), torch.sigmoid(logits).transpose(1, 2), latent)

    def detect_together(self, waves: Sequence[Float[Tensor, " _"]]) -> Detection:
        """Detect in waves of different lengths, those of one length at once; see ``DetectorNetwork``."""
        by_length: dict[int, list[int]] = {}
        for place, wave in enumerate(waves):
            by_length.setdefault(len(wave), []).append(place)
        found = [self(torch.stack([waves[place] for place in places])) for places in by_length.values()]
        frames = max(one.framewise.shape[2] for one in found)
        maps = [functional.pad(one.framewise, (0, frames - one.framewise.shape[2])) for one in found]
        back = torch.tensor([place for places in by_length.values() for place in places]).argsort()
        return Detection(
            torch.cat([one.clipwise_logits for one in found])[back],
            torch.cat(maps)[back],
            torch.cat([one.latent for one in found])[back],
        )

    def sample_map(
        self, window_map: NDArray[np.float32], centres: NDArray[np.float64], time: int
    ) -> NDArray[np.float32]:
        """Read the presence map at places of the input; see ``DetectorNetwork``."""
        return window_map[:, (centres // self.config.frame_time).astype(int)]


def pooled(logits: Float[Tensor, "batch frame class"]) -> Float[Tensor, "batch class"]:
    """Return the log-odds of the classes in the whole: the mean of the frames, weighted by their own probabilities.

    Linear softmax pooling (Wang, Li and Metze, ICASSP 2019): frames without the class hardly count against it.
    """
    frames = torch.sigmoid(logits.float())
    whole = frames.square().sum(dim=1) / frames.sum(dim=1).clamp(min=_LEAST)
    return torch.logit(whole, _LEAST)


def _htk_filters(sample_rate: int, n_fft: int) -> Float[Tensor, "freq mel"]:
    """Triangles of height 1 on the scale 1127 ln(1 + f / 700), as AudioSet's front end has them."""

    def to_mel(freq_hz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(freq_hz / 700.0)

    low, high = to_mel(torch.tensor([_FMIN_HZ, _FMAX_HZ], dtype=torch.float64))
    edges = low + (high - low) * torch.linspace(0.0, 1.0, N_MELS + 2, dtype=torch.float64)
    bins = to_mel(torch.linspace(0.0, sample_rate / 2, n_fft // 2 + 1, dtype=torch.float64))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0.0).float()
