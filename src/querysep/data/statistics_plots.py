"""Pictures of a data set's statistics."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from querysep.data.statistics import ClassStatistics, Statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SPLITS = {"train": ("#3b6ea8", "o"), "validation": ("#e0a030", "D"), "test": ("#a03b5c", "s")}
MOST_CLASSES = 60
MOST_LICENCES = 14


def plot_classes(statistics: Statistics, path: Path) -> None:
    """Draw minutes and clips of every class, by split.

    Args:
        statistics: of a data set.
        path: the new PNG.
    """
    classes = statistics.classes[:MOST_CLASSES]
    figure = _figure(12, 1.6 + 0.2 * len(classes))
    minutes, clips = figure.subplots(1, 2, sharey=True)
    _dots(minutes, classes, [{split: 60 * one.hours for split, one in row.splits.items()} for row in classes])
    _dots(clips, classes, [{split: float(one.clips) for split, one in row.splits.items()} for row in classes])
    minutes.set_xlabel("minutes")
    clips.set_xlabel("clips")
    clips.legend(loc="lower right", frameon=False)
    left = len(statistics.classes) - len(classes)
    rest = f"; {left} smaller classes left out" if left else ""
    figure.suptitle(f"{statistics.clips} clips, {statistics.hours:.1f} hours{rest}. * held out of training")
    figure.savefig(path, format="png", dpi=110)


def plot_spreads(statistics: Statistics, path: Path) -> None:
    """Draw how durations and loudness lie, class by class: the middle half, the middle nine tenths, the median.

    Args:
        statistics: of a data set.
        path: the new PNG.
    """
    classes = statistics.classes[:MOST_CLASSES]
    figure = _figure(12, 1.6 + 0.2 * len(classes))
    durations, loudness = figure.subplots(1, 2, sharey=True)
    for axes, name in ((durations, "duration_s"), (loudness, "loudness_db")):
        for row, one in enumerate(classes):
            spread = getattr(one, name)
            if spread is not None:
                axes.plot([spread.p5, spread.p95], [row, row], color="#b0b8c4", linewidth=1.5)
                axes.plot([spread.p25, spread.p75], [row, row], color="#3b6ea8", linewidth=5)
                axes.plot([spread.median], [row], "|", color="black", markersize=9)
        axes.grid(axis="x", color="#e0e0e0")
    durations.set_xscale("log")
    durations.set_xlabel("duration, seconds")
    loudness.set_xlabel("loudness, dB RMS re full scale")
    _name_rows(durations, classes)
    figure.suptitle("Duration and loudness: median, middle half (thick), middle nine tenths (thin)")
    figure.savefig(path, format="png", dpi=110)


def plot_licences(statistics: Statistics, path: Path) -> None:
    """Draw the hours under each licence.

    Args:
        statistics: of a data set.
        path: the new PNG.
    """
    rows = list(statistics.licences.items())
    shown = rows[:MOST_LICENCES]
    figure = _figure(9, 1.4 + 0.28 * len(shown))
    axes = figure.subplots()
    axes.barh(range(len(shown)), [amount.hours for _, amount in shown], color="#3b6ea8")
    for row, (_, amount) in enumerate(shown):
        axes.text(amount.hours, row, f" {amount.clips} clips", va="center", fontsize=8)
    axes.set_yticks(range(len(shown)), [_short(name) for name, _ in shown], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlabel("hours")
    left = len(rows) - len(shown)
    figure.suptitle("Licences" + (f" ({left} rarer ones left out)" if left else ""))
    figure.savefig(path, format="png", dpi=110)


def _figure(width: float, height: float) -> "Figure":
    """Make a figure that no window system needs to know of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, max(3.0, height)), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _dots(axes: "Axes", classes: Sequence[ClassStatistics], values: Sequence[dict[str, float]]) -> None:
    """Draw a dot for each split; bars upon each other would mislead on a logarithmic scale."""
    for split, (colour, marker) in SPLITS.items():
        rows = [row for row, value in enumerate(values) if split in value]
        axes.plot([values[row][split] for row in rows], rows, marker, color=colour, markersize=5, label=split)
    axes.set_xscale("log")
    axes.grid(color="#e8e8e8")
    axes.set_axisbelow(True)
    _name_rows(axes, classes)


def _name_rows(axes: "Axes", classes: Sequence[ClassStatistics]) -> None:
    names = [_short(one.label) + (" *" if one.held_out else "") for one in classes]
    axes.set_yticks(range(len(classes)), names, fontsize=8)
    axes.set_ylim(len(classes) - 0.4, -0.6)


def _short(name: str) -> str:
    return name if len(name) <= 34 else name[:32] + "..."
