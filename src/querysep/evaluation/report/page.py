"""The report of an evaluation: one HTML page with all its pictures and sounds, that needs nothing from outside."""

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import soundfile
import soxr

from querysep.errors import ConfigError
from querysep.evaluation.protocols.protocol import Row
from querysep.evaluation.report.charts import bar_charts, scatter
from querysep.evaluation.report.results import Results
from querysep.evaluation.report.tables import INTERVAL, cells, digits_of, figure, heading
from querysep.pipeline.plots import Panel, draw
from querysep.progress import Progress, silent
from querysep.types import Audio

if TYPE_CHECKING:
    from jinja2 import Template

_SHOWN = 10
_OPEN_CHARTS = 3
LONGEST_S = 8.0
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_OTHER_RATE = 32_000
_BLOCK = 16_384


@dataclass(frozen=True)
class Player:
    """A sound within the page."""

    name: str
    seconds: float
    source: str


@dataclass(frozen=True)
class Excerpts:
    """Sounds of a row and a picture of them.

    Attributes:
        players: a sound each.
        picture: spectrograms of those that are as long as the first, as a data URL.
        alternative: what the picture shows, in words.
        note: what was cut.
    """

    players: list[Player]
    picture: str
    alternative: str
    note: str


@dataclass(frozen=True)
class _Item:
    """A row among the worst or the best."""

    row: Row
    words: str
    figures: list[tuple[str, str]]
    excerpts: Excerpts | None


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
        sounds: gives the sounds of a row, as ``Protocol.sounds``; at most twenty rows are asked for, and at most 8 s
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
    figures = [(heading(name), figure(value, digits_of(name, [value]))) for name, value in row.values.items()]
    words = figure(row.values[metric], digits_of(metric, [row.values[metric]]))
    words += " dB" if metric.endswith("_db") else ""
    return _Item(row, words, figures, excerpts(sounds, row.label))


def excerpts(sounds: Mapping[str, Audio], label: str) -> Excerpts | None:
    """Make players and a picture of sounds; None where there are none.

    The sounds that are as long as the first are cut to the same seconds, those where the target (or the first, if none
    is called so) is loudest; others to their first seconds.

    Args:
        sounds: by name.
        label: what they are of.
    """
    if not sounds:
        return None
    first = next(iter(sounds.values()))
    start_s = _loudest_s(sounds.get("target", first))
    cut: dict[str, Audio] = {}
    together: list[Panel] = []
    for name, audio in sounds.items():
        alike = abs(audio.duration_s - first.duration_s) < 0.01
        cut[name] = _cut(audio, start_s if alike else 0.0)
        if alike:
            together.append(Panel(name.capitalize(), cut[name]))
    loudest = max(float(np.abs(audio.samples).max()) for audio in cut.values())
    gain = np.float32(min(1.0, 0.99 / max(loudest, 1e-9)))
    names = ", ".join(panel.title.lower() for panel in together)
    note = f"From {start_s:.1f} s on, {LONGEST_S:g} s of {first.duration_s:.0f} s." if start_s > 0 else ""
    if not note and first.duration_s > LONGEST_S:
        note = f"The first {LONGEST_S:g} s of {first.duration_s:.0f} s."
    return Excerpts(
        players=[Player(name, audio.duration_s, _mp3(audio, gain)) for name, audio in cut.items()],
        picture=_picture(together),
        alternative=f"Spectrograms, one below the other, of {names}; asked for: {label}",
        note=note,
    )


def _loudest_s(audio: Audio) -> float:
    """Return where the loudest seconds begin, in whole seconds."""
    rate, longest = audio.sample_rate, round(LONGEST_S * audio.sample_rate)
    if audio.samples.shape[1] <= longest:
        return 0.0
    energy = np.concatenate(([0.0], np.cumsum(np.square(audio.mono, dtype=np.float64))))
    starts = np.arange(0, audio.samples.shape[1] - longest + 1, rate)
    return float(starts[int(np.argmax(energy[starts + longest] - energy[starts]))] / rate)


def _cut(audio: Audio, start_s: float) -> Audio:
    start = round(start_s * audio.sample_rate)
    samples = audio.samples[:2, start : start + round(LONGEST_S * audio.sample_rate)]
    return Audio(np.ascontiguousarray(samples), audio.sample_rate)


def _mp3(audio: Audio, gain: np.float32) -> str:
    samples, rate = (audio.samples * gain).T, audio.sample_rate
    if rate not in _MP3_RATES:
        samples, rate = soxr.resample(samples, rate, _OTHER_RATE), _OTHER_RATE
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate, samples.shape[1], format="MP3", bitrate_mode="VARIABLE", compression_level=0.6
    ) as file:
        for start in range(0, samples.shape[0], _BLOCK):
            file.write(samples[start : start + _BLOCK])
    return _data_url("audio/mpeg", buffer.getvalue())


def _picture(panels: list[Panel]) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(draw(panels, None, small=True))) as drawn:
        drawn.convert("RGB").save(buffer, "WEBP", quality=75)
    return _data_url("image/webp", buffer.getvalue())


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
