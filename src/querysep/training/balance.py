"""How often each class is drawn."""

import numpy as np
from numpy.typing import NDArray


def class_weights(counts: NDArray[np.int64], cap: int = 100) -> NDArray[np.float64]:
    """Return the share of each class: as the root of its number of items, of at most ``cap``."""
    roots = np.sqrt(np.minimum(counts, cap).astype(np.float64))
    shares: NDArray[np.float64] = roots / roots.sum()
    return shares
