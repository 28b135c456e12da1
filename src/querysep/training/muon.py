"""Muon: momentum whose direction is made orthogonal, for matrices and kernels; Adam for the rest.

After Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), scaled so that a step is as long
as one of AdamW (Liu et al., arXiv 2502.16982, Section 2.2). ``torch.optim.Muon`` takes matrices only, and works in
bfloat16, which is slow on many processors.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_STEP_RMS = 0.2
_ADAM = (0.9, 0.999)


@torch.no_grad()
def orthogonal(matrix: Tensor) -> Tensor:
    """Return nearly the orthogonal matrix that is nearest, by five rounds of Newton and Schulz's iteration.

    Args:
        matrix: shape (row, column).

    Returns:
        Same shape; singular values about 0.7 to 1.2.
    """
    wide: Tensor = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.norm().clamp(min=1e-12)
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        gram = wide @ wide.T
        wide = a * wide + torch.addmm(gram, gram, gram, beta=b, alpha=c) @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two and more dimensions, Adam for biases and norms, without decay.

    A kernel counts as a matrix of its outputs by all else.

    Args:
        parameters: of a network.
        lr: of both; a step of either moves a value by about 0.2 times so much.
        weight_decay: of the matrices.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float) -> None:
        known = list(parameters)
        groups: list[dict[str, Any]] = [
            {"params": [one for one in known if one.ndim > 1], "orthogonal": True},
            {"params": [one for one in known if one.ndim <= 1], "orthogonal": False},
        ]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step; the closure, if any, computes the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                if group["orthogonal"]:
                    self._turn(parameter, parameter.grad, group["lr"], group["weight_decay"])
                else:
                    self._adapt(parameter, parameter.grad, group["lr"])
        return loss

    def _turn(self, parameter: Tensor, gradient: Tensor, rate: float, decay: float) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1.0 - _MOMENTUM)
        ahead = torch.lerp(gradient, momentum, _MOMENTUM).flatten(1)
        parameter.mul_(1.0 - rate * decay)
        length = _STEP_RMS * math.sqrt(max(ahead.shape))
        parameter.add_(orthogonal(ahead).reshape(parameter.shape), alpha=-rate * length)

    def _adapt(self, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[parameter]
        if not state:
            state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
        state["step"] += 1
        (keep, keep_square), step = _ADAM, state["step"]
        mean = state["mean"].lerp_(gradient, 1.0 - keep)
        square = state["square"].lerp_(gradient.square(), 1.0 - keep_square)
        spread = (square / (1.0 - keep_square**step)).sqrt() + 1e-8
        parameter.addcdiv_(mean, spread, value=-rate / (1.0 - keep**step))
