"""How often each class is drawn."""

import numpy as np
from numpy.typing import NDArray


def class_weights(counts: NDArray[np.int64], cap: int = 100, balance: float = 0.5) -> NDArray[np.float64]:
    """Return the share of each class.

    Args:
        counts: items of each class.
        cap: more items than these count no more.
        balance: 1 draws every class alike, 0 every item; between them the power of a class's size falls.
    """
    weights = np.minimum(counts, cap).astype(np.float64) ** (1.0 - balance)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares
