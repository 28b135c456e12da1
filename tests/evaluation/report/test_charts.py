"""The charts of the report: bars and points lie where their figures are."""

import math

import numpy as np
import pytest

from querysep.evaluation.protocols.protocol import Row
from querysep.evaluation.report.charts import bar_charts, scatter, ticks


def _rows(*figures: float, group: str = "seen") -> list[Row]:
    return [
        Row(task=str(place), group=group, label="ab"[place % 2], values={"sdri_db": value, "presence": place / 10})
        for place, value in enumerate(figures)
    ]


def test_bars_lie_where_their_figures_are() -> None:
    (chart,) = bar_charts(_rows(4.0, -2.0, 6.0, math.nan, 8.0), "sdri_db")
    places = [float(tick.words) for tick in chart.ticks]
    assert [bar.label for bar in chart.bars] == ["a", "b"]
    first, second = chart.bars
    assert (first.count, second.count) == (3, 1)
    scale = 100.0 / (places[-1] - places[0])
    assert first.start == pytest.approx(chart.zero) and first.width == pytest.approx(6.0 * scale, abs=0.02)
    assert second.negative and second.start + second.width == pytest.approx(chart.zero, abs=0.02)
    assert second.low is None and first.low is not None and first.high is not None
    assert first.low <= first.start + first.width <= first.high
    assert first.words.startswith("6.00 (4.00 to 8.00)")


def test_groups_without_the_figure_get_no_bars() -> None:
    rows = [*_rows(1.0), Row(task="t", group="else", label="x", values={"ap": 0.5})]
    assert [chart.group for chart in bar_charts(rows, "sdri_db")] == ["seen"]


def test_the_scatter_puts_high_figures_at_the_top_and_high_scores_right() -> None:
    drawn = scatter([*_rows(1.0, 2.0, math.nan, 4.0), *_rows(9.0, group="held-out")], "sdri_db")
    assert drawn is not None and drawn.count == 4 and drawn.groups == ["seen", "held-out"]
    seen = [point for point in drawn.points if point.group == 0]
    assert [point.x for point in seen] == [0.0, 10.0, 30.0]
    assert seen[0].y > seen[1].y > seen[2].y
    by_hand = scatter(_rows(1.0, 3.0, 2.0), "sdri_db")
    assert by_hand is not None and by_hand.correlation == pytest.approx(0.5)
    assert scatter(_rows(1.0), "sdri_db") is None


def test_ranks_correlate_as_in_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    rows = [
        Row(task="t", group="g", label="l", values={"sdri_db": float(x), "presence": float(y) / 10})
        for x, y in rng.integers(0, 10, (40, 2))
    ]
    drawn = scatter(rows, "sdri_db")
    expected = stats.spearmanr([r.values["sdri_db"] for r in rows], [r.values["presence"] for r in rows]).statistic
    assert drawn is not None and drawn.correlation == pytest.approx(expected)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.2, 17.9), (0.0, 0.03), (5.0, 5.0), (-120.0, 60.0)])
def test_ticks_are_round_and_hold_the_range(low: float, high: float) -> None:
    places = ticks(low, high, "sdri_db")
    assert places[0] <= low and places[-1] >= high
    assert 2 <= len(places) <= 9
    step = places[1] - places[0]
    assert step / 10 ** math.floor(math.log10(step) + 1e-9) == pytest.approx(
        round(step / 10 ** math.floor(math.log10(step) + 1e-9))
    )
