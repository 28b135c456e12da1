"""The picture of a separation."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread
from numpy.typing import NDArray

from querysep.errors import AudioError
from querysep.pipeline import plots
from querysep.pipeline.plots import Panel, Presence, draw
from querysep.types import Audio


def _noise(seconds: float, sample_rate: int = 16_000, channels: int = 1, gain: float = 0.1) -> Audio:
    samples = np.random.default_rng(0).standard_normal((channels, round(seconds * sample_rate))) * gain
    return Audio.of(samples, sample_rate)


def _pixels(png: bytes) -> NDArray[np.float32]:
    pixels: NDArray[np.float32] = imread(io.BytesIO(png), format="png")
    return pixels


@pytest.mark.parametrize(
    ("seconds", "sample_rate"), [(0.1, 3_000), (0.1, 192_000), (1.0, 8_000), (130.0, 8_000), (3_700.0, 3_000)]
)
def test_any_length_and_rate_gives_a_picture_1200_wide(seconds: float, sample_rate: int) -> None:
    audio = _noise(seconds, sample_rate)
    pixels = _pixels(draw([Panel("Mixture", audio)], None))
    assert pixels.shape[1] == 1200
    assert pixels[..., :3].std() > 0.05


@pytest.mark.parametrize("seconds", [0.2, 2.0, 90.0])
def test_a_tone_stands_in_its_band_and_time(seconds: float) -> None:
    sample_rate = 16_000
    time_s = np.arange(round(seconds * sample_rate)) / sample_rate
    tone = np.sin(2 * np.pi * 2_000 * time_s) * (time_s > seconds / 2)
    spectrogram = plots._spectrogram(Audio.of(tone, sample_rate))
    centers_hz = np.geomspace(spectrogram.lowest_hz, spectrogram.highest_hz, plots.BANDS)
    loudest_hz = centers_hz[spectrogram.power.mean(axis=1).argmax()]
    assert loudest_hz == pytest.approx(2_000, rel=0.05)
    columns = spectrogram.power.sum(axis=0)
    half = len(columns) // 2
    assert columns[: half - half // 4].max() < 1e-3 * columns[half + half // 4 :].min()


def test_a_file_gives_the_same_spectrogram_as_its_samples(tmp_path: Path) -> None:
    audio = _noise(9.7, channels=2)
    audio.save(tmp_path / "noise.wav")
    from_file = plots._spectrogram(tmp_path / "noise.wav")
    np.testing.assert_allclose(from_file.power, plots._spectrogram(audio).power, rtol=1e-6)


def test_every_recording_shares_the_first_ones_scale() -> None:
    loud, faint = _noise(1.0), _noise(1.0, gain=0.001)
    together = _pixels(draw([Panel("Mixture", loud), Panel("Target", faint)], None))
    height = together.shape[0]
    assert (
        together[height // 8 : height // 3, 200:900, :3].mean()
        > 2 * together[-height // 3 : -height // 8, 200:900, :3].mean()
    )


def test_classes_with_the_highest_peaks_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    framewise = np.zeros((30, 4_000), dtype=np.float32)
    framewise[17, 2_345] = 0.9  # one frame among those that a column stands for
    framewise[3] = 0.4
    shown: list[list[str]] = []
    from matplotlib.axes import Axes

    original = Axes.set_yticks

    def spy(self: Axes, ticks: Any, labels: Any = None, **options: Any) -> Any:
        if isinstance(labels, list):
            shown.append(labels)
        return original(self, ticks, labels, **options)

    monkeypatch.setattr(Axes, "set_yticks", spy)
    presence = Presence([f"$class {index}$" for index in range(30)], framewise, 0.01)
    draw([Panel("Mixture", _noise(40.0))], presence, top=2)
    assert shown == [["$class 17$", "$class 3$"]]
    assert plots._fewer_frames(framewise.astype(np.float64))[17].max() == pytest.approx(0.9)


def test_silence_and_odd_names_do_no_harm() -> None:
    silence = Audio.of(np.zeros(4_000), 8_000)
    presence = Presence(["日本語 $x_", "a name that goes on and on and on"], np.zeros((2, 1)), 0.5)
    assert draw([Panel("Mixture $\\frac", silence)], presence).startswith(b"\x89PNG")


def test_nothing_to_draw_is_told() -> None:
    with pytest.raises(AudioError, match="at least one"):
        draw([], None)


def test_pyplot_stays_out(tmp_path: Path) -> None:
    import subprocess
    import sys

    soundfile.write(tmp_path / "a.wav", np.zeros(800), 8_000)
    code = (
        "import sys; from pathlib import Path; from querysep.pipeline.plots import Panel, draw; "
        "assert 'matplotlib' not in sys.modules; draw([Panel('Mixture', Path(sys.argv[1]))], None); "
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.wav")], check=True)


def test_a_small_picture_is_half_as_wide() -> None:
    sound = Audio(np.full((1, 8_000), 0.1, np.float32), 16_000)
    widths = [int.from_bytes(draw([Panel("a", sound)], None, small=small)[16:20], "big") for small in (False, True)]
    assert widths == [1200, 600]
