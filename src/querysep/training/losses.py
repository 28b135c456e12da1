"""What the separator's training counts beside the energy of the error."""

import torch
from torch import Tensor
from torch.nn import functional

_COMPRESSION, _LEAST_POWER, _LEAST_MASK = 0.3, 1e-12, 1e-5


def compressed_error(mask: Tensor, power: Tensor, target_power: Tensor) -> Tensor:
    """Return the mean squared error between magnitudes to the power of 0.3, the mixture's level being 1.

    What is soft beside what is loud counts more in it than in the error's energy (power-law compression, as in Ephrat
    et al., 2018).

    Args:
        mask: shape (batch, query, freq, frame).
        power: of the mixture, shape (batch, 1, freq, frame).
        target_power: same shape as the mask.
    """
    relative, wanted = (
        (one / power.mean(dim=(2, 3), keepdim=True).clamp(min=1e-10)).clamp(min=_LEAST_POWER).pow(0.5 * _COMPRESSION)
        for one in (power, target_power)
    )
    guess = mask.clamp(min=_LEAST_MASK).pow(_COMPRESSION) * relative
    return (guess - wanted).square().mean()


def presence_loss(logits: Tensor, known: Tensor) -> Tensor:
    """Return the cross-entropy of presence, where present and absent queries count alike.

    Args:
        logits: any shape.
        known: same shape: 1, 0, or NaN where a logit does not count.
    """
    there, absent = (known == 1).float(), (known == 0).float()
    losses = functional.binary_cross_entropy_with_logits(logits.float(), there, reduction="none")
    # weighed, not picked: a GPU need not be waited for
    return torch.stack([(losses * one).sum() / one.sum().clamp(min=1.0) for one in (there, absent)]).mean()
