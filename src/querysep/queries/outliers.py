"""Which of several embeddings do not belong with the others.

Far from the others is what has less than half of them near: the distance of an embedding to the others is that to the
nearest half of them. Since it is then compared with the median of all, never more than half can be outliers; of two
nothing can be said.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

FACTOR = 1.3  # times the median distance
LEAST_DISTANCE = 0.6  # between directions, 0..2: nearer ones are alike, however alike the rest are (cosine 0.82)
SCATTERED = 0.9  # median distance from which on examples are hardly of one sound (cosine 0.6)
_COMPARED = 1_000


def outliers(vectors: Float[Tensor, "example condition_dim"]) -> Bool[Tensor, " example"]:
    """Tell which vectors lie far from most of the others; at most half of them, and none of fewer than three."""
    if vectors.shape[0] < 3:
        return torch.zeros(vectors.shape[0], dtype=torch.bool)
    distances = _distances(vectors)
    return (distances > FACTOR * distances.median()) & (distances > LEAST_DISTANCE)


def scattered(vectors: Float[Tensor, "example condition_dim"]) -> bool:
    """Tell whether vectors are so far from each other that their mean stands for none of them."""
    return vectors.shape[0] > 1 and float(_distances(vectors).median()) > SCATTERED


def _distances(vectors: Float[Tensor, "example condition_dim"]) -> Float[Tensor, " example"]:
    """Return for each vector the distance within which half of the others lie, between directions."""
    directions = functional.normalize(vectors.double(), dim=1)
    count = directions.shape[0]
    step = -(-count // _COMPARED)
    compared = directions[::step]
    far = 2.0 * torch.ones(count, compared.shape[0], dtype=torch.float64)
    for start in range(0, count, _COMPARED):
        part = directions[start : start + _COMPARED]
        far[start : start + _COMPARED] = (2.0 - 2.0 * part @ compared.T).clamp(min=0.0).sqrt()
    own = torch.arange(0, count, step)
    far[own, torch.arange(len(own))] = torch.inf  # nobody is their own neighbour
    nearest = far.sort(dim=1).values
    return nearest[:, max(1, compared.shape[0] // 2) - 1].float()
