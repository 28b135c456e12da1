"""What the separator's training counts beside the energy of the error."""

import torch
from torch import Tensor
from torch.nn import functional

_COMPRESSION, _LEAST_POWER, _LEAST_MASK = 0.3, 1e-12, 1e-5
_LEAST_REST = 0.01  # of the mixture's energy: what is asked for is not alone


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


def worse_than_mixture(error: Tensor, rest: Tensor) -> Tensor:
    """Return by how many dB answers are worse than the mixture itself would be, in the mean; 0 for those that are not.

    The mean of errors in dB is fond of risk: one answer that is nearly perfect makes up for many that take the wrong
    sound. Where a sound is alone there is no rest, so that its answers do not count.

    Args:
        error: of each answer over the energy of the mixture, any shape, more than 0.
        rest: the same of the mixture as the answer.
    """
    several = (rest > _LEAST_REST).float()
    return (several * functional.relu(10.0 * torch.log10(error / rest.clamp(min=_LEAST_REST)))).mean()
