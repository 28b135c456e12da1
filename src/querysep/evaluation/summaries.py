"""Means of rows, with their intervals."""

from collections.abc import Sequence

import numpy as np

from querysep.evaluation.metrics import bootstrap_interval
from querysep.evaluation.protocol import Row, Summary


def of_rows(name: str, rows: Sequence[Row]) -> Summary:
    """Return the mean of every metric over the rows that have a figure, with 95 % bootstrap intervals.

    Where there is an SDR improvement, ``made_worse`` is the share of rows in which it is below 0.

    Args:
        name: of the summary.
        rows: at least one.
    """
    values: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for metric in dict.fromkeys(metric for row in rows for metric in row.values):
        figures = np.array([row.values[metric] for row in rows if metric in row.values], dtype=np.float64)
        figures = figures[np.isfinite(figures)]
        if not len(figures):
            continue
        values[metric] = float(figures.mean())
        if len(figures) > 1:
            intervals[metric] = bootstrap_interval(figures)
        if metric == "sdri_db":
            values["made_worse"] = float((figures < 0).mean())
    return Summary(name=name, count=len(rows), values=values, intervals=intervals)
