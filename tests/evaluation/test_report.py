"""The report: one page, nothing from outside, and figures where they belong."""

import base64
import io
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from toy_protocol import ToyProtocol

from querysep.evaluation.protocol import Row
from querysep.evaluation.report import report_html, worst_and_best
from querysep.evaluation.report_charts import bar_charts, scatter, ticks
from querysep.evaluation.report_sounds import LONGEST_S, listening
from querysep.evaluation.results import ModelFacts
from querysep.evaluation.runner import run
from querysep.types import Audio

VOID = {"meta", "img", "line", "path", "br", "link"}


class _Page(HTMLParser):
    """Collects what a page is made of, and whether its elements are closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.tags: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def _rows(*figures: float, group: str = "seen") -> list[Row]:
    return [
        Row(task=str(place), group=group, label="ab"[place % 2], values={"sdri_db": value, "presence": place / 10})
        for place, value in enumerate(figures)
    ]


@pytest.fixture
def html(tmp_path: Path) -> str:
    toy = ToyProtocol()
    results = run(toy, ModelFacts(name="tiny", hash="0123"), tmp_path, command="querysep evaluate toy")
    return report_html(results, toy.sounds)


def test_the_page_is_whole_and_needs_nothing_from_outside(html: str) -> None:
    page = _Page(html)
    assert page.open == []
    assert len(page.sources) > 4 and all(source.startswith("data:") for source in page.sources)
    assert not re.search(r"https?:|url\(|@import|<script|<link", html)
    assert all(image["alt"] for image in page.images) and page.images
    assert "Dog &lt;&amp;&gt;" in html and "Dog <" not in html
    assert "querysep evaluate toy" in html and "NaN" not in html and ">nan<" not in html


def test_players_play_what_they_are_named(html: str) -> None:
    found = re.findall(r'src="data:audio/mpeg;base64,([^"]+)" aria-label="(\w+) of', html)
    assert {name for _, name in found} == {"mixture", "target"}
    for content, name in found:
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(content)))
        assert rate == 16_000
        assert np.abs(samples).max() == pytest.approx({"mixture": 0.3, "target": 0.15}[name], rel=0.2)


def test_worst_and_best_are_not_the_same_rows() -> None:
    rows = _rows(3.0, math.nan, -1.0, 7.0, 5.0)
    worst, best = worst_and_best(rows, "sdri_db")
    assert [row.values["sdri_db"] for row in worst] == [-1.0, 3.0]
    assert [row.values["sdri_db"] for row in best] == [7.0, 5.0]
    many = worst_and_best(_rows(*range(50)), "sdri_db")
    assert [row.values["sdri_db"] for row in many[1]] == [float(49 - place) for place in range(10)]


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


def test_long_sounds_are_cut_where_the_target_is_loudest() -> None:
    rate = 8_000
    noise = np.random.default_rng(0).standard_normal((1, 30 * rate)).astype(np.float32) * 0.01
    target = np.zeros_like(noise)
    target[:, 15 * rate : 20 * rate] = 0.5
    sounds = {
        "mixture": Audio(noise + target, rate),
        "target": Audio(target, rate),
        "query": Audio(noise[:, :rate], rate),
    }
    heard = listening(sounds, "Dog")
    assert heard is not None
    assert [round(player.seconds, 1) for player in heard.players] == [LONGEST_S, LONGEST_S, 1.0]
    start_s = float(re.findall(r"From (\d+\.\d) s", heard.note)[0])
    assert 12.0 <= start_s <= 15.0
    assert "mixture, target;" in heard.alternative
    assert listening({}, "Dog") is None


def test_a_rate_that_mp3_lacks_is_resampled() -> None:
    sound = Audio(np.zeros((2, 9_600), np.float32), 96_000)
    heard = listening({"mixture": sound}, "Dog")
    assert heard is not None
    content = base64.b64decode(heard.players[0].source.split(",")[1])
    assert soundfile.info(io.BytesIO(content)).samplerate == 32_000
