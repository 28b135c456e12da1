"""The report of an evaluation: one HTML page with all its pictures and sounds, that needs nothing from outside."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from querysep.errors import ConfigError
from querysep.evaluation.protocol import Row
from querysep.evaluation.report_charts import bar_charts, scatter
from querysep.evaluation.results import Results
from querysep.evaluation.tables import INTERVAL, cells, digits_of, figure, heading
from querysep.progress import Progress, silent
from querysep.types import Audio

if TYPE_CHECKING:
    from jinja2 import Template

    from querysep.evaluation.report_sounds import Listening

_SHOWN = 10
_OPEN_CHARTS = 3


@dataclass(frozen=True)
class _Item:
    """A row among the worst or the best."""

    row: Row
    words: str
    figures: list[tuple[str, str]]
    listening: "Listening | None"


def load_template() -> "Template":
    """Return the template of the page.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ConfigError("The report needs the extra 'eval': pip install 'querysep[eval]'.") from error
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = resources.files("querysep") / "assets" / "report" / "report.html.jinja"
    return environment.from_string(source.read_text(encoding="utf-8"))


def report_html(results: Results, sounds: Callable[[Row], Mapping[str, Audio]], *, progress: Progress = silent) -> str:
    """Return the page.

    Args:
        results: of an evaluation.
        sounds: what to listen to for a row, as ``Protocol.sounds``; at most twenty rows are asked for, and at most 8 s
            of each sound are kept.
        progress: told after each row that is drawn.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    template = load_template()
    worst, best = worst_and_best(results.rows, results.headline)
    items: list[_Item] = []
    for done, row in enumerate([*worst, *best], start=1):
        items.append(_item(row, results.headline, sounds(row)))
        progress(done, len(worst) + len(best), "drawing the report")
    chart = scatter(results.rows, results.headline)
    return template.render(
        results=results,
        identity=results.identity,
        headline=heading(results.headline),
        tables=cells(results.summaries, results.headline),
        charts=bar_charts(results.rows, results.headline),
        open_charts=_OPEN_CHARTS,
        scatter=chart,
        correlation=figure(chart.correlation) if chart else "",
        worst=items[: len(worst)],
        best=items[len(worst) :],
        words=("", INTERVAL),
    )


def worst_and_best(rows: Sequence[Row], metric: str) -> tuple[list[Row], list[Row]]:
    """Return the ten rows with the lowest figures, lowest first, and the ten with the highest, highest first.

    Of fewer than twenty, each half; no row is in both.
    """
    ranked = sorted(
        (row for row in rows if math.isfinite(row.values.get(metric, math.nan))), key=lambda row: row.values[metric]
    )
    half = min(_SHOWN, len(ranked) // 2)
    return ranked[:half], ranked[::-1][:half]


def _item(row: Row, metric: str, sounds: Mapping[str, Audio]) -> _Item:
    from querysep.evaluation.report_sounds import listening

    figures = [(heading(name), figure(value, digits_of(name, [value]))) for name, value in row.values.items()]
    words = figure(row.values[metric], digits_of(metric, [row.values[metric]]))
    words += " dB" if metric.endswith("_db") else ""
    return _Item(row, words, figures, listening(sounds, row.label))
