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

from querysep.evaluation.protocols.protocol import Row
from querysep.evaluation.report.page import LONGEST_S, excerpts, report_html, worst_and_best
from querysep.evaluation.report.results import ModelFacts
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
    found = excerpts(sounds, "Dog")
    assert found is not None
    assert [round(player.seconds, 1) for player in found.players] == [LONGEST_S, LONGEST_S, 1.0]
    start_s = float(re.findall(r"From (\d+\.\d) s", found.note)[0])
    assert 12.0 <= start_s <= 15.0
    assert "mixture, target;" in found.alternative
    assert excerpts({}, "Dog") is None


def test_a_rate_that_mp3_lacks_is_resampled() -> None:
    sound = Audio(np.zeros((2, 9_600), np.float32), 96_000)
    found = excerpts({"mixture": sound}, "Dog")
    assert found is not None
    content = base64.b64decode(found.players[0].source.split(",")[1])
    assert soundfile.info(io.BytesIO(content)).samplerate == 32_000
