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
def orthogonal(matrices: Tensor) -> Tensor:
    """Return nearly the orthogonal matrices that are nearest, by five rounds of Newton and Schulz's iteration.

    Args:
        matrices: shape (row, column), or several of one shape, (matrix, row, column).

    Returns:
        Same shape; singular values about 0.7 to 1.2.
    """
    is_wide = matrices.shape[-2] <= matrices.shape[-1]
    wide: Tensor = matrices if is_wide else matrices.mT
    wide = wide / torch.linalg.vector_norm(wide, dim=(-2, -1), keepdim=True).clamp(min=1e-12)
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return wide if is_wide else wide.mT


class Muon(torch.optim.Optimizer):
    """Muon for parameters of two and more dimensions, Adam for biases and norms, without decay.

    A kernel counts as a matrix of its outputs by all else. Parameters are treated together, matrices of one shape at
    once: a GPU would else wait for the many small steps to be asked for.

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
            parameters = [one for one in group["params"] if one.grad is not None]
            gradients = [one.grad for one in parameters]
            if not parameters:
                continue
            if group["orthogonal"]:
                self._turn(parameters, gradients, group["lr"], group["weight_decay"])
            else:
                self._adapt(parameters, gradients, group["lr"])
        return loss

    def _turn(self, parameters: list[Tensor], gradients: list[Tensor], rate: float, decay: float) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1.0 - _MOMENTUM)
        ahead = [one.flatten(1) for one in torch._foreach_lerp(gradients, momenta, _MOMENTUM)]
        by_shape: dict[torch.Size, list[int]] = {}
        for index, matrix in enumerate(ahead):
            by_shape.setdefault(matrix.shape, []).append(index)
        steps = list(ahead)
        for shape, indices in by_shape.items():
            turned = orthogonal(torch.stack([ahead[index] for index in indices])) * _STEP_RMS * math.sqrt(max(shape))
            for index, matrix in zip(indices, turned, strict=True):
                steps[index] = matrix.reshape(parameters[index].shape)
        torch._foreach_mul_(parameters, 1.0 - rate * decay)
        torch._foreach_add_(parameters, steps, alpha=-rate)

    def _adapt(self, parameters: list[Tensor], gradients: list[Tensor], rate: float) -> None:
        states = [self.state[parameter] for parameter in parameters]
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
            state["step"] += 1
        keep, keep_square = _ADAM
        means, squares = ([state[name] for state in states] for name in ("mean", "square"))
        torch._foreach_lerp_(means, gradients, 1.0 - keep)
        torch._foreach_lerp_(squares, torch._foreach_mul(gradients, gradients), 1.0 - keep_square)
        spreads = torch._foreach_div(squares, [1.0 - keep_square ** state["step"] for state in states])
        torch._foreach_sqrt_(spreads)
        torch._foreach_add_(spreads, 1e-8)
        torch._foreach_addcdiv_(parameters, means, spreads, [-rate / (1.0 - keep ** state["step"]) for state in states])
