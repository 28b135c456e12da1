"""The picture of a separation or a detection: log-frequency spectrograms above the presence map.

The cost in memory does not grow with the recording: each of about a thousand columns looks at a few short windows of
the stretch that it stands for, and files are read in blocks.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from querysep.errors import AudioError, OutputError
from querysep.io.audio_reader import AudioReader
from querysep.types import Audio, FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 1000
BANDS = 160
WINDOWS_PER_COLUMN = 6
LOWEST_HZ = 50.0
HIGHEST_HZ = 16_000.0
RANGE_DB = 70.0
WIDTH_INCH = 12.0
DOTS_PER_INCH = 100
LONGEST_LABEL = 22
PICTURE_FORMATS = ("png", "jpg", "jpeg", "webp", "tif", "tiff", "pdf", "svg")


@dataclass(frozen=True)
class Panel:
    """One recording to draw.

    Attributes:
        title: what it is, such as "Mixture".
        audio: the recording, in memory or on disk.
    """

    title: str
    audio: Audio | Path


@dataclass(frozen=True)
class Presence:
    """What the detector found, class by class.

    Attributes:
        labels: a name per class.
        framewise: shape (class, frame), probabilities.
        frame_s: seconds from one frame to the next.
    """

    labels: Sequence[str]
    framewise: NDArray[Any]
    frame_s: float


@dataclass(frozen=True)
class _Spectrogram:
    """Power by band and column, with the band centres in Hz."""

    power: NDArray[np.float64]
    lowest_hz: float
    highest_hz: float
    duration_s: float


def picture_format(path: Path) -> str:
    """Return the format of a picture by the ending of its name.

    Raises:
        OutputError: we do not write that format.
    """
    ending = path.suffix.lower().removeprefix(".")
    if ending not in PICTURE_FORMATS:
        raise OutputError(f"'{path}' does not end in what we can draw: .{', .'.join(PICTURE_FORMATS)}.")
    return ending


def draw(
    panels: Sequence[Panel],
    presence: Presence | None,
    *,
    top: int = 8,
    small: bool = False,
    file_format: str = "png",
) -> bytes:
    """Draw spectrograms of recordings of the same length, and the presence map below, on one time axis.

    Args:
        panels: at least one; the first one's loudest spot is 0 dB for all of them.
        presence: the presence map of the first recording, or None to leave it out.
        top: how many classes to show at most, those with the highest peaks.
        small: for a narrow place, such as a card of a page.
        file_format: as `picture_format` gives it.

    Returns:
        A picture file, 1200 pixels wide, or 600.

    Raises:
        AudioError: a recording cannot be read, or there is none.
    """
    if not panels:
        raise AudioError("There is nothing to draw: give at least one recording.")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = min(top, len(presence.labels)) if presence is not None else 0
    heights = [1.35 if small else 2.1] * len(panels) + ([0.45 + 0.21 * rows] if rows else [])
    width = WIDTH_INCH / 2 if small else WIDTH_INCH
    figure = Figure(figsize=(width, sum(heights) + 0.7), dpi=DOTS_PER_INCH, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    spectrograms = [_spectrogram(panel.audio) for panel in panels]
    _draw_spectrograms(figure, list(axes[: len(panels)]), panels, spectrograms)
    if presence is not None and rows:
        _draw_presence(figure, axes[-1], presence, rows)
    _time_axis(axes[-1], spectrograms[0].duration_s)
    return _as_file(figure, file_format)


def _as_file(figure: "Figure", file_format: str) -> bytes:
    """The figure as a picture file; glyphs that the font lacks become boxes without a warning."""
    import warnings

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        figure.savefig(buffer, format=file_format, dpi=DOTS_PER_INCH)
    return buffer.getvalue()


def _draw_spectrograms(
    figure: "Figure", axes: "list[Axes]", panels: Sequence[Panel], spectrograms: Sequence[_Spectrogram]
) -> None:
    from matplotlib.ticker import FuncFormatter

    loudest = max(float(spectrograms[0].power.max()), 1e-20)
    image = None
    for axis, panel, spectrogram in zip(axes, panels, spectrograms, strict=True):
        level_db = 10 * np.log10(np.maximum(spectrogram.power / loudest, 1e-12))
        bottom, highest = np.log10(spectrogram.lowest_hz), np.log10(spectrogram.highest_hz)
        image = axis.imshow(
            level_db,
            origin="lower",
            aspect="auto",
            interpolation="bilinear",
            cmap="magma",
            vmin=-RANGE_DB,
            vmax=0,
            extent=(0, spectrogram.duration_s, bottom, highest),
        )
        marks = [hz for hz in (50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000) if bottom <= np.log10(hz) <= highest]
        axis.set_yticks([float(np.log10(hz)) for hz in marks])
        axis.yaxis.set_major_formatter(FuncFormatter(_frequency_mark))
        axis.tick_params(labelsize=9)
        axis.set_ylabel("Frequency (Hz)", fontsize=9)
        title = panel.title.encode("utf-8", "replace").decode()  # a name may hold bytes that are no UTF-8
        axis.set_title(title, loc="left", fontsize=11, fontweight="bold", parse_math=False)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, pad=0.01, aspect=40, fraction=0.05)
        bar.set_label("Level (dB re loudest spot)" if len(panels) > 1 else "Level (dB)", fontsize=9)
        bar.ax.tick_params(labelsize=9)


def _draw_presence(figure: "Figure", axis: "Axes", presence: Presence, rows: int) -> None:
    framewise = np.asarray(presence.framewise, dtype=np.float64)
    duration_s = framewise.shape[1] * presence.frame_s
    order = np.argsort(-framewise.max(axis=1) - 1e-3 * framewise.mean(axis=1), kind="stable")[:rows]
    image = axis.imshow(
        _fewer_frames(framewise[order]),
        origin="upper",
        aspect="auto",
        interpolation="nearest",
        cmap="GnBu",
        vmin=0,
        vmax=1,
        extent=(0, duration_s, rows - 0.5, -0.5),
    )
    names = [str(presence.labels[index]) for index in order]
    names = [name if len(name) <= LONGEST_LABEL else name[: LONGEST_LABEL - 1] + "…" for name in names]
    axis.set_yticks(range(rows), names, fontsize=9, parse_math=False)
    for edge in range(1, rows):
        axis.axhline(edge - 0.5, color="white", linewidth=1)
    axis.set_title("Presence map", loc="left", fontsize=11, fontweight="bold")
    bar = figure.colorbar(image, ax=axis, pad=0.01, aspect=10, fraction=0.05, ticks=[0, 0.5, 1])
    bar.set_label("Presence", fontsize=9)
    bar.ax.tick_params(labelsize=9)


def _fewer_frames(framewise: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most ``COLUMNS`` frames, each the highest of those that it stands for."""
    frames = framewise.shape[1]
    if frames <= COLUMNS:
        return framewise
    edges = np.linspace(0, frames, COLUMNS, endpoint=False).astype(np.int64)
    fewer: NDArray[np.float64] = np.maximum.reduceat(framewise, edges, axis=1)
    return fewer


def _frequency_mark(position: float, _index: int | None = None) -> str:
    hz = round(10**position)
    return f"{hz // 1000}k" if hz >= 1000 else str(hz)


def _time_axis(axis: "Axes", duration_s: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_xlim(0, duration_s)
    axis.tick_params(axis="x", labelsize=9)
    if duration_s < 120:
        axis.set_xlabel("Time (s)", fontsize=9)
        return
    hours = duration_s >= 3600
    steps = [1, 1.5, 3, 6, 10] if hours else [1, 2, 3, 6, 10]
    axis.xaxis.set_major_locator(MaxNLocator(nbins=12, steps=steps, integer=True))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda second, _index: _clock(second, hours=hours)))
    axis.set_xlabel("Time (h:min:s)" if hours else "Time (min:s)", fontsize=9)


def _clock(second: float, *, hours: bool) -> str:
    whole = round(second)
    minutes, rest = divmod(whole, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _spectrogram(audio: Audio | Path) -> _Spectrogram:
    """Mean power in log-spaced bands, one column per stretch of time."""
    sample_rate, length, blocks = _mono_blocks(audio)
    duration_s = length / sample_rate
    n_fft = _window_length(sample_rate, length)
    columns = int(np.clip(np.ceil(length / max(n_fft // 16, 1)), 2, COLUMNS))
    stretch = length / columns
    per_column = int(np.clip(np.ceil(stretch / n_fft), 1, WINDOWS_PER_COLUMN))
    centers = (np.arange(columns * per_column) + 0.5) * (length / (columns * per_column))
    starts = np.round(centers).astype(np.int64) - n_fft // 2

    highest_hz = min(HIGHEST_HZ, sample_rate / 2)
    lowest_hz = min(LOWEST_HZ, highest_hz / 8)
    bands = _band_matrix(sample_rate, n_fft, lowest_hz, highest_hz)
    power = np.zeros((BANDS, columns))
    window = np.hanning(n_fft).astype(np.float32)
    first = 0
    for pieces in _pieces(blocks, starts, n_fft):
        spectrum = np.abs(np.fft.rfft(pieces * window, axis=1)) ** 2
        column = np.arange(first, first + len(pieces)) // per_column
        np.add.at(power.T, column, spectrum @ bands.T / per_column)
        first += len(pieces)
    return _Spectrogram(power, lowest_hz, highest_hz, duration_s)


def _window_length(sample_rate: int, length: int) -> int:
    """A power of two near 64 ms, shorter for very short recordings."""
    samples = max(min(0.064 * sample_rate, length / 4), 32)
    return int(2 ** round(np.log2(samples)))


def _band_matrix(sample_rate: int, n_fft: int, lowest_hz: float, highest_hz: float) -> NDArray[np.float64]:
    """Shape (band, bin): each row averages the bins within its band, or interpolates where bins are wider."""
    edges = np.geomspace(lowest_hz, highest_hz, BANDS + 1) * n_fft / sample_rate
    bins = np.arange(n_fft // 2 + 1)
    half = np.maximum((edges[1:] - edges[:-1]) / 2, 1.0)[:, None]
    center = ((edges[1:] + edges[:-1]) / 2)[:, None]
    weight = np.maximum(1 - np.abs(bins[None, :] - center) / half, 0)
    matrix: NDArray[np.float64] = weight / np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
    return matrix


def _pieces(blocks: Iterator[FloatArray], starts: NDArray[np.int64], n_fft: int) -> Iterator[FloatArray]:
    """Cut windows out of consecutive blocks; what lies outside the recording is silence.

    Yields:
        Shape (window, time): the windows that have become whole, in order.
    """
    held = np.zeros(n_fft, dtype=np.float32)
    origin = -n_fft
    taken = 0
    for block in blocks:
        held = np.concatenate([held, block])
        ready = int(np.searchsorted(starts, origin + len(held) - n_fft, side="right"))
        for begin in range(taken, ready, 256):
            offsets = starts[begin : min(begin + 256, ready)] - origin
            yield held[offsets[:, None] + np.arange(n_fft)[None, :]]
        taken = max(taken, ready)
        keep_from = int(starts[taken]) - origin if taken < len(starts) else len(held)
        drop = int(np.clip(keep_from, 0, len(held)))
        held, origin = held[drop:], origin + drop
    if taken < len(starts):
        offsets = starts[taken:] - origin
        held = np.concatenate([held, np.zeros(max(0, int(offsets[-1]) + n_fft - len(held)), dtype=np.float32)])
        yield held[offsets[:, None] + np.arange(n_fft)[None, :]]


def _mono_blocks(audio: Audio | Path) -> tuple[int, int, Iterator[FloatArray]]:
    """Sample rate, number of samples, and the mean of the channels block by block."""
    if isinstance(audio, Audio):
        return audio.sample_rate, audio.samples.shape[1], iter([audio.mono])
    with AudioReader(audio) as reader:
        sample_rate, length = reader.sample_rate, reader.samples
        if length is None:  # the container does not tell, only decoding does
            length = sum(block.shape[1] for block in reader.blocks())
    return sample_rate, length, _mono_file(audio)


def _mono_file(path: Path) -> Iterator[FloatArray]:
    with AudioReader(path) as reader:
        for block in reader.blocks():
            yield block.mean(axis=0, dtype=np.float32)
