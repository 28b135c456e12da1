"""Separation as the paper evaluates it: chunk by chunk, all stems of a chunk refined together."""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from querysep.dsp.stft import istft, stft
from querysep.dsp.wiener import wiener
from querysep.separation.network import SeparatorNetwork
from querysep.types import FloatArray


@dataclass(frozen=True)
class Song:
    """A track as a protocol takes it.

    Attributes:
        mixture: shape (channel, time).
        stems: shape (stem, channel, time), in the order of `STEMS`.
    """

    mixture: FloatArray
    stems: FloatArray


def separate_chunks(
    network: SeparatorNetwork, conditions: Float[Tensor, "stem condition_dim"], mixture: FloatArray, size: int
) -> FloatArray:
    """Separate a mixture in chunks that follow each other.

    Args:
        network: the separator, in eval mode.
        conditions: one for each stem, on the network's device.
        mixture: shape (time,), at the network's rate; a multiple of the size.
        size: of a chunk, in samples.

    Returns:
        Shape (stem, time).
    """
    chunks = torch.from_numpy(mixture.reshape(-1, size))
    estimates = [separate_chunk(network, conditions, chunk).numpy() for chunk in chunks]
    empty = np.zeros((conditions.shape[0], 0), np.float32)
    return np.concatenate([empty, *estimates], axis=1)


@torch.inference_mode()
def separate_chunk(
    network: SeparatorNetwork, conditions: Float[Tensor, "stem condition_dim"], mixture: Float[Tensor, "time"]
) -> Float[Tensor, "stem time"]:
    """Separate one chunk: a mask for each stem, then the joint Wiener step on the masked magnitudes.

    Masks are estimated one at a time, on the network's device, so that memory does not grow with the stems; the rest
    happens on the CPU, since complex tensors are incomplete on Apple's GPUs.

    Args:
        network: the separator, in eval mode.
        conditions: one for each stem, on the network's device.
        mixture: on the CPU, more than n_fft // 2 samples.
    """
    config = network.config
    spectrogram = stft(mixture, config.n_fft, config.hop)
    magnitude = spectrogram.abs()
    given = magnitude[None].to(conditions.device)
    masks = torch.cat([network.mask_of_magnitude(given, condition[None]).cpu() for condition in conditions])
    joint = wiener(
        rearrange(masks * magnitude, "stem f t -> t f 1 stem"), rearrange(spectrogram, "f t -> t f 1"), iterations=1
    )
    return istft(rearrange(joint, "t f 1 stem -> stem f t"), config.n_fft, config.hop, mixture.shape[0])
