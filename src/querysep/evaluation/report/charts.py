"""What the report draws, as plain places in percent: bars of means and a scatter of rows."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.evaluation.protocols.protocol import Row
from querysep.evaluation.report.tables import digits_of, figure

PRESENCE = "presence"
_MOST_POINTS = 3000


@dataclass(frozen=True)
class Bar:
    """The mean of a class, and where its marks lie, in percent of the width.

    Attributes:
        label: the class.
        count: rows with a figure.
        words: mean and interval, as text.
        start: where the bar begins.
        width: of the bar.
        low: where the interval begins; None for a single row.
        high: where it ends.
        negative: whether the mean is below 0.
    """

    label: str
    count: int
    words: str
    start: float
    width: float
    low: float | None
    high: float | None
    negative: bool


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where, in percent, and what it says."""

    place: float
    words: str


@dataclass(frozen=True)
class BarChart:
    """The classes of a group by their means, the highest first."""

    group: str
    bars: list[Bar]
    ticks: list[Tick]
    zero: float


@dataclass(frozen=True)
class Point:
    """A row in the scatter, in percent from the left and the top."""

    x: float
    y: float
    group: int
    words: str


@dataclass(frozen=True)
class Scatter:
    """The figure that counts against the presence score.

    Attributes:
        points: at most 3,000, evenly chosen.
        count: rows that have both figures.
        groups: their names; a point has the number of its group.
        x_ticks: of the presence score.
        y_ticks: of the figure.
        correlation: of the ranks (Spearman).
    """

    points: list[Point]
    count: int
    groups: list[str]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    correlation: float


def bar_charts(rows: Sequence[Row], metric: str) -> list[BarChart]:
    """Return a chart for each group of rows that has figures, in order of appearance.

    Args:
        rows: of the evaluation.
        metric: to draw.
    """
    groups: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        value = row.values.get(metric, math.nan)
        if math.isfinite(value):
            groups[row.group][row.label].append(value)
    return [_chart(group, classes, metric) for group, classes in groups.items()]


def _chart(group: str, classes: dict[str, list[float]], metric: str) -> BarChart:
    means = {label: float(np.mean(values)) for label, values in classes.items()}
    ranges = {label: bootstrap_interval(np.array(values)) for label, values in classes.items() if len(values) > 1}
    ends = [0.0, *means.values(), *(end for pair in ranges.values() for end in pair)]
    places = ticks(min(ends), max(ends), metric)
    low, high = places[0], places[-1]
    digits = digits_of(metric, means.values())
    bars = []
    for label in sorted(means, key=lambda label: -means[label]):
        mean, pair = means[label], ranges.get(label)
        words = figure(mean, digits)
        if pair:
            words += f" ({figure(pair[0], digits)} to {figure(pair[1], digits)})"
        zero, place = _percent(0.0, low, high), _percent(mean, low, high)
        bars.append(
            Bar(
                label=label,
                count=len(classes[label]),
                words=words,
                start=min(zero, place),
                width=round(abs(place - zero), 2),
                low=_percent(pair[0], low, high) if pair else None,
                high=_percent(pair[1], low, high) if pair else None,
                negative=mean < 0,
            )
        )
    marks = [Tick(_percent(value, low, high), f"{value:g}") for value in places]
    return BarChart(group, bars, marks, _percent(0.0, low, high))


def scatter(rows: Sequence[Row], metric: str) -> Scatter | None:
    """Return the rows that have both a figure and a presence score; None where fewer than two have."""
    both = [
        row
        for row in rows
        if math.isfinite(row.values.get(metric, math.nan)) and math.isfinite(row.values.get(PRESENCE, math.nan))
    ]
    if len(both) < 2:
        return None
    figures = np.array([row.values[metric] for row in both])
    scores = np.array([row.values[PRESENCE] for row in both])
    places = ticks(float(figures.min()), float(figures.max()), metric)
    groups = list(dict.fromkeys(row.group for row in both))
    kept = np.unique(np.linspace(0, len(both) - 1, min(len(both), _MOST_POINTS)).round().astype(int))
    points = [
        Point(
            x=round(100.0 * float(scores[index]), 2),
            y=round(100.0 - _percent(float(figures[index]), places[0], places[-1]), 2),
            group=groups.index(both[index].group),
            words=f"{both[index].label}: {figures[index]:.2f}, presence {scores[index]:.2f}",
        )
        for index in kept
    ]
    return Scatter(
        points=points,
        count=len(both),
        groups=groups,
        x_ticks=[Tick(100.0 * share, f"{share:g}") for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        y_ticks=[Tick(100.0 - _percent(value, places[0], places[-1]), f"{value:g}") for value in places],
        correlation=_rank_correlation(scores, figures),
    )


def ticks(low: float, high: float, metric: str) -> list[float]:
    """Return round places that hold a range: steps of 1, 2 or 5 times a power of ten, four to nine of them."""
    span = max(high - low, 1e-9 if not metric.endswith("_db") else 1.0)
    rough = span / 6.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(place * step, 10) for place in range(first, max(last, first + 1) + 1)]


def _percent(value: float, low: float, high: float) -> float:
    return round(100.0 * (value - low) / (high - low), 2)


def _rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return Spearman's correlation; NaN where one of them does not vary."""
    ranks = [_mean_ranks(values) for values in (first, second)]
    if min(np.ptp(rank) for rank in ranks) == 0:
        return math.nan
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _mean_ranks(values: np.ndarray) -> np.ndarray:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    after = np.cumsum(counts)
    ranks: np.ndarray = (after - (counts - 1) / 2.0)[inverse]
    return ranks
