"""What a data set holds, in numbers and pictures: hours, clips, durations, loudness, licences; by class and split."""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from querysep.data.manifest import Clip, is_rendered
from querysep.data.recordings import Recordings
from querysep.errors import DataError
from querysep.progress import Progress, silent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
NO_LICENCE = "not stated"
LONGEST_READ_S = 30.0
QUIETEST_DB = -120.0
PLOTTED_CLASSES = 60
PLOTTED_LICENCES = 14
_SPLIT_STYLES = {"train": ("#3b6ea8", "o"), "validation": ("#e0a030", "D"), "test": ("#a03b5c", "s")}


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spread(_Model):
    """How values lie: quantiles."""

    p5: float
    p25: float
    median: float
    p75: float
    p95: float


class Amount(_Model):
    """Clips and how long they are together."""

    clips: int
    hours: float


class ClassStatistics(_Model):
    """A class: the clips whose first label it is."""

    label: str
    splits: dict[str, Amount] = Field(description="by split")
    origins: dict[str, int] = Field(description="how many different origins, by split")
    rendered: int = Field(description="clips made from a soundfont")
    held_out: bool = Field(description="never trained on")
    duration_s: Spread
    loudness_db: Spread | None = Field(description="RMS re full scale; None where no clip was measured")
    also_labelled: Amount = Field(description="clips that have the label, first or not")


class Statistics(_Model):
    """A whole data set."""

    clips: int
    hours: float
    splits: dict[str, Amount]
    rendered: Amount
    licences: dict[str, Amount] = Field(description="as the source states them, the longest first")
    duration_s: Spread
    loudness_db: Spread | None
    measured: int = Field(description="clips whose loudness was measured")
    unreadable: tuple[str, ...] = Field(description="clips that were to be measured and could not be read")
    classes: tuple[ClassStatistics, ...] = Field(description="the longest first")
    shared_origins: tuple[str, ...] = Field(description="origins that lie in more than one split: leaks")


def loudness_db(samples: NDArray[np.int16]) -> float:
    """Measure how loud a clip is.

    Args:
        samples: mono, shape (time,).

    Returns:
        RMS in dB re full scale; a full-scale square wave has 0. Digital silence has -120.
    """
    if samples.size == 0:
        return QUIETEST_DB
    rms = float(np.sqrt(np.mean(np.square(samples.astype(np.float64) / 32_768))))
    return max(QUIETEST_DB, 20 * float(np.log10(max(rms, 1e-12))))


def measure(recordings: Recordings, *, most: int | None = None, progress: Progress = silent) -> Statistics:
    """Count and measure a data set.

    Args:
        recordings: any data set that can be opened.
        most: measure the loudness of at most so many clips, evenly chosen; None for all. Of a long clip the
            first 30 seconds are measured.
        progress: called after each clip that is measured.

    Returns:
        The numbers.

    Raises:
        DataError: there are no clips.
    """
    clips = recordings.clips
    if not clips:
        raise DataError("There are no clips to count.")
    chosen = range(len(clips)) if most is None or most >= len(clips) else _evenly(len(clips), most)
    loudness: dict[int, float] = {}
    unreadable = []
    longest = int(LONGEST_READ_S * recordings.sample_rate)
    for done, index in enumerate(chosen):
        progress(float(done), float(len(chosen)), "loudness")
        try:
            loudness[index] = loudness_db(recordings.read(index, 0, longest))
        except DataError:
            unreadable.append(clips[index].path)
    progress(float(len(chosen)), float(len(chosen)), "done")
    return _gather(clips, loudness, unreadable)


def _gather(clips: Sequence[Clip], loudness: dict[int, float], unreadable: Sequence[str]) -> Statistics:
    members: dict[str, list[int]] = defaultdict(list)
    labelled: dict[str, list[Clip]] = defaultdict(list)
    for index, clip in enumerate(clips):
        members[clip.labels[0]].append(index)
        for label in clip.labels:
            labelled[label].append(clip)
    licences = _amounts(clips, [clip.licence or NO_LICENCE for clip in clips])
    classes = [_class(label, clips, indices, loudness, labelled[label]) for label, indices in members.items()]
    return Statistics(
        clips=len(clips),
        hours=_hours(clips),
        splits=_amounts(clips, [clip.split for clip in clips]),
        rendered=_amount([clip for clip in clips if is_rendered(clip)]),
        licences=dict(sorted(licences.items(), key=lambda item: (-item[1].hours, item[0]))),
        duration_s=_spread([clip.duration_s for clip in clips]),
        loudness_db=_spread(list(loudness.values())) if loudness else None,
        measured=len(loudness),
        unreadable=tuple(unreadable),
        classes=tuple(sorted(classes, key=lambda one: (-sum(part.hours for part in one.splits.values()), one.label))),
        shared_origins=_shared_origins(clips),
    )


def _class(
    label: str, clips: Sequence[Clip], indices: Sequence[int], loudness: dict[int, float], labelled: Collection[Clip]
) -> ClassStatistics:
    own = [clips[index] for index in indices]
    origins: dict[str, set[str]] = defaultdict(set)
    for clip in own:
        origins[clip.split].add(clip.origin)
    levels = [loudness[index] for index in indices if index in loudness]
    return ClassStatistics(
        label=label,
        splits=_amounts(own, [clip.split for clip in own]),
        origins={split: len(names) for split, names in sorted(origins.items())},
        rendered=sum(is_rendered(clip) for clip in own),
        held_out=any(clip.held_out for clip in own),
        duration_s=_spread([clip.duration_s for clip in own]),
        loudness_db=_spread(levels) if levels else None,
        also_labelled=_amount(labelled),
    )


def _evenly(count: int, most: int) -> list[int]:
    return [int(place) for place in np.unique(np.linspace(0, count - 1, most).round())]


def _hours(clips: Collection[Clip]) -> float:
    return sum(clip.duration_s for clip in clips) / 3600


def _amount(clips: Collection[Clip]) -> Amount:
    return Amount(clips=len(clips), hours=_hours(clips))


def _amounts(clips: Sequence[Clip], keys: Sequence[str]) -> dict[str, Amount]:
    count: Counter[str] = Counter(keys)
    seconds: dict[str, float] = defaultdict(float)
    for clip, key in zip(clips, keys, strict=True):
        seconds[key] += clip.duration_s
    return {key: Amount(clips=count[key], hours=seconds[key] / 3600) for key in sorted(count)}


def _spread(values: Sequence[float]) -> Spread:
    p5, p25, median, p75, p95 = (float(value) for value in np.quantile(np.asarray(values, dtype=np.float64), QUANTILES))
    return Spread(p5=p5, p25=p25, median=median, p75=p75, p95=p95)


def _shared_origins(clips: Sequence[Clip]) -> tuple[str, ...]:
    """Name origins of several splits; clips without an origin are passed over."""
    splits: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.origin:
            splits[clip.origin].add(clip.split)
    return tuple(sorted(origin for origin, found in splits.items() if len(found) > 1))


def plot_classes(statistics: Statistics, path: Path) -> None:
    """Draw minutes and clips of every class, by split.

    Args:
        statistics: of a data set.
        path: the new PNG.
    """
    classes = statistics.classes[:PLOTTED_CLASSES]
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
    classes = statistics.classes[:PLOTTED_CLASSES]
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
    shown = rows[:PLOTTED_LICENCES]
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
    for split, (colour, marker) in _SPLIT_STYLES.items():
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
