"""What every evaluation protocol is made of: work cut into tasks, rows of figures, and means of groups of rows.

A protocol knows what to measure. Running it (in order, after a cut, on many machines) is the runner's affair, and
drawing it the report's; neither knows what the figures mean.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from querysep.data.manifest import Clip
from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.types import Audio

SILENT_DB = -20.0
"""Energy of a target against its mixture's, above which it counts as not silent."""


class Row(BaseModel):
    """The figures of one item: a query in a mixture, a song, a clip."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str = Field(description="key of the task that made it")
    group: str = Field(description="what it counts towards, such as 'seen' or 'three sources'")
    label: str = Field(description="class or stem that the query is for")
    values: dict[str, float] = Field(description="metric with its unit in the name -> figure; NaN where it has none")
    facts: dict[str, str] = Field(
        default_factory=dict, description="what else tells the item: clip, query, other class"
    )


class Summary(BaseModel):
    """Figures of a group of rows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="group, or group and class")
    count: int = Field(ge=0, description="rows with a figure")
    values: dict[str, float] = Field(description="metric -> figure, such as the mean of the rows")
    intervals: dict[str, tuple[float, float]] = Field(
        default_factory=dict, description="metric -> 95 % bootstrap interval, where there is one"
    )


class Protocol(ABC):
    """Something to measure.

    Attributes:
        name: as on the command line.
        version: raised whenever the same model would get other figures.
        headline: the metric of a row that bars, best and worst items go by.
        data_hash: of the recordings that are measured on.
        warnings: what was decided for the user, such as a test side, one sentence each.
    """

    name: str
    version: int
    headline: str
    data_hash: str
    warnings: Sequence[str] = ()

    @abstractmethod
    def settings(self) -> Mapping[str, object]:
        """Return what else decides the figures: number of mixtures, seed and the like; JSON values."""

    @abstractmethod
    def tasks(self) -> Sequence[str]:
        """Return the keys of all tasks, in order; each can be measured alone, by any process."""

    @abstractmethod
    def measure(self, task: str) -> list[Row]:
        """Measure one task; the same rows whenever and wherever it runs."""

    @abstractmethod
    def summarise(self, rows: Sequence[Row]) -> list[Summary]:
        """Return the table of the protocol, the figures that count first."""

    def sounds(self, row: Row) -> dict[str, Audio]:
        """Return the sounds of a row, by name: mixture, target, estimate. Empty where there is nothing."""
        return {}


def of_rows(name: str, rows: Sequence[Row]) -> Summary:
    """Return the mean of every metric over the rows that have a figure, with 95 % bootstrap intervals.

    Where there is an SDR improvement, ``made_worse`` is the share of rows in which it is below 0; where there is a
    ``target_db`` of what is not in the mixture, ``not_silent`` is the share of rows above -20 dB.

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
        if metric == "target_db":
            values["not_silent"] = float((figures > SILENT_DB).mean())
    return Summary(name=name, count=len(rows), values=values, intervals=intervals)


def hash_clips(clips: Iterable[Clip], more: Iterable[str] = ()) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 over a list of clips.

    It tells other lists, labels, lengths and splits apart, not other sound in files of the same names and lengths.

    Args:
        clips: in any order.
        more: other lines that decide what is measured.
    """
    digest = hashlib.sha256()
    for line in sorted([*(clip.model_dump_json() for clip in clips), *more]):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:16]
