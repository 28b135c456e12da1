"""Which classes are trained on, and how often each is drawn."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from querysep.errors import DataError


def trainable(clips: Mapping[str, int], min_clips: int) -> list[str]:
    """Return the classes that are trained on.

    Args:
        clips: how many each class has.
        min_clips: classes with fewer are left out; 0 refuses a class with a single clip instead.

    Raises:
        DataError: a class has a single clip, so that no recording is left to ask for another by.
    """
    single = sorted(label for label, count in clips.items() if count == 1)
    if single and not min_clips:
        named = ", ".join(f"'{label}'" for label in single[:3]) + (" ..." if len(single) > 3 else "")
        raise DataError(
            f"{len(single)} of {len(clips)} classes have a single clip: {named}. A sound is asked for by another "
            "recording of its class: add clips, or leave such classes out by --set min_clips=2."
        )
    return [label for label, count in clips.items() if count >= min_clips]


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
