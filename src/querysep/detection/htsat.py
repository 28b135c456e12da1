"""ST-SED: the hierarchical token-semantic audio transformer (Chen et al., ICASSP 2022), written from the papers."""

from collections.abc import Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from querysep.detection.config import HtsatConfig
from querysep.detection.network import Detection, DetectorNetwork
from querysep.detection.swin import Stage
from querysep.dsp.mel import log_mel, mel_filter_bank


class PatchEmbed(nn.Module):
    """Cut an image into patches and embed each."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch token dim"]:
        """Return one token for each patch, row by row."""
        tokens: Tensor = self.norm(rearrange(self.proj(image), "b c h w -> b (h w) c"))
        return tokens


class Htsat(DetectorNetwork):
    """Log-mel spectrogram -> shifted-window transformer -> presence map, clipwise probabilities, latent embedding."""

    config: HtsatConfig
    mel_filters: Tensor

    def __init__(self, config: HtsatConfig) -> None:
        super().__init__()
        self.config = config
        filters = mel_filter_bank(config.sample_rate, config.n_fft, config.n_mels, config.fmin_hz, config.fmax_hz)
        self.register_buffer("mel_filters", filters, persistent=False)
        self.bn0 = nn.BatchNorm2d(config.n_mels)
        self.patch_embed = PatchEmbed(config.patch_size, config.embed_dim)
        self.layers = nn.ModuleList(self._stages(config))
        self.norm = nn.LayerNorm(config.latent_dim)
        side = config.image_size // config.patch_size // 2 ** (len(config.depths) - 1)
        self.tscam_conv = nn.Conv2d(config.latent_dim, config.classes, (side // config.fold, 3), padding=(0, 1))
        self.apply(_initialise)

    @staticmethod
    def _stages(config: HtsatConfig) -> list[Stage]:
        rates = torch.linspace(0.0, config.drop_path, sum(config.depths)).tolist()
        stages, first = [], 0
        for index, (depth, heads) in enumerate(zip(config.depths, config.heads, strict=True)):
            stages.append(
                Stage(
                    dim=config.embed_dim * 2**index,
                    resolution=config.image_size // config.patch_size // 2**index,
                    depth=depth,
                    heads=heads,
                    window_size=config.window_size,
                    mlp_ratio=config.mlp_ratio,
                    dropout=config.dropout,
                    drop_paths=rates[first : first + depth],
                    merge=index < len(config.depths) - 1,
                )
            )
            first += depth
        return stages

    def log_mel(self, wave: Float[Tensor, "batch time"]) -> Float[Tensor, "batch mel frame"]:
        """Return the log-mel spectrogram in dB; ``wave`` is longer than n_fft // 2 samples."""
        return log_mel(wave, self.mel_filters, self.config.n_fft, self.config.hop)

    def image(self, spectrogram: Float[Tensor, "batch mel frame"]) -> Float[Tensor, "batch 1 height width"]:
        """Normalise, repeat a short input, stretch to a full image's frames and fold time into a square.

        A spectrogram of at most config.frames frames is repeated as often as it fits whole, then stretched by
        bicubic interpolation (corners aligned) to exactly config.frames.
        """
        frames = self.config.frames
        if spectrogram.shape[-1] > frames:
            raise ValueError(f"one forward pass takes {frames} frames at most; got {spectrogram.shape[-1]}")
        normalised = rearrange(self.bn0(rearrange(spectrogram, "b m t -> b m t 1")), "b m t 1 -> b 1 t m")
        normalised = normalised.repeat(1, 1, frames // normalised.shape[2], 1)
        if normalised.shape[2] != frames:
            normalised = functional.interpolate(
                normalised, (frames, self.config.n_mels), mode="bicubic", align_corners=True
            )
        folded: Tensor = rearrange(normalised, "b 1 (fold t) m -> b 1 (fold m) t", fold=self.config.fold)
        return folded

    def tokens(self, image: Float[Tensor, "batch 1 height width"]) -> Float[Tensor, "batch latent_dim freq frame"]:
        """Return the last stage's tokens, unfolded so that time runs along the last axis."""
        tokens = self.patch_embed(image)
        for layer in self.layers:
            tokens = layer(tokens)
        side = self.config.image_size // self.config.patch_size // 2 ** (len(self.config.depths) - 1)
        unfolded: Tensor = rearrange(
            self.norm(tokens), "b (fold f t) c -> b c f (fold t)", fold=self.config.fold, t=side
        )
        return unfolded

    def classify(self, spectrogram: Float[Tensor, "batch mel frame"]) -> Detection:
        """Run the network on a log-mel spectrogram in dB of at most config.frames frames."""
        return self.look(self.image(spectrogram))

    def look(self, image: Float[Tensor, "batch 1 height width"]) -> Detection:
        """Run the network on what ``image`` makes; images of inputs of different lengths go together in a batch."""
        tokens = self.tokens(image)
        logits = self.tscam_conv(tokens).squeeze(2)
        return Detection(
            clipwise_logits=logits.mean(dim=-1),
            framewise=torch.sigmoid(logits),
            latent=tokens.flatten(2).mean(dim=-1),
        )

    def forward(self, wave: Float[Tensor, "batch time"]) -> Detection:
        """Detect.

        Args:
            wave: shape (batch, time), mono at config.sample_rate, more than n_fft // 2 samples and at most
                config.frames frames (use ``detection.windows`` for any other length).

        Returns:
            Detection. Its presence map covers the repeated and stretched input: config.map_frames frames.
        """
        return self.classify(self.log_mel(wave))

    def detect_together(self, waves: Sequence[Float[Tensor, " _"]]) -> Detection:
        """Detect in waves of different lengths, each as ``forward`` does alone."""
        return self.look(torch.cat([self.image(self.log_mel(wave[None])) for wave in waves]))

    def sample_map(
        self, window_map: NDArray[np.float32], centres: NDArray[np.float64], time: int
    ) -> NDArray[np.float32]:
        """Read the presence map at places of the input, the mean of its repetitions; see ``DetectorNetwork``."""
        frames = window_map.shape[1]
        copies = max(1, self.config.frames // (time // self.config.hop + 1))
        positions = (centres[None, :] + np.arange(copies)[:, None] * time) / (copies * time) * frames
        sampled: NDArray[np.float32] = window_map[:, np.minimum(positions.astype(int), frames - 1)].mean(axis=1)
        return sampled


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
