"""Made-up strong labels and scores, for which another library's figures are known."""

import numpy as np
from numpy.typing import NDArray

LABELS = ("Dog", "Bell", "Rain")
FRAME_S = 0.1
DURATION_S = 10.0


def made_up(count: int = 30) -> list[tuple[dict[str, list[tuple[float, float]]], NDArray[np.float32]]]:
    """Events by class, and framewise scores of multiples of 1/50, shape (class, frame), for each recording."""
    rng = np.random.default_rng(11)
    made = []
    for _ in range(count):
        events: dict[str, list[tuple[float, float]]] = {}
        levels = 0.18 + 0.14 * rng.standard_normal((len(LABELS), round(DURATION_S / FRAME_S)))
        for index, label in enumerate(LABELS):
            onset_s = rng.uniform(0.0, 3.0)
            for _ in range(int(rng.integers(0, 3))):
                length_s = rng.uniform(0.4, 3.0)
                events.setdefault(label, []).append((round(onset_s, 3), round(onset_s + length_s, 3)))
                first = int((onset_s + rng.normal(0.0, 0.12)) / FRAME_S)
                last = int((onset_s + length_s + rng.normal(0.0, 0.3)) / FRAME_S)
                heard = index if rng.random() > 0.15 else (index + 1) % len(LABELS)
                levels[heard, max(first, 0) : last] += rng.uniform(0.3, 0.7)
                onset_s += length_s + rng.uniform(0.3, 1.0)
        smooth = np.apply_along_axis(lambda row: np.convolve(row, np.ones(3) / 3, "same"), 1, levels)
        made.append((events, (np.clip(np.round(smooth * 50), 0, 50) / 50).astype(np.float32)))
    return made
