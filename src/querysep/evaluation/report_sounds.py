"""Sounds of a row for the report: cut to a few seconds, as MP3 and spectrograms within the page itself."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr

from querysep.pipeline.plots import Panel, draw
from querysep.types import Audio

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
class Listening:
    """What there is to hear and see of a row.

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


def listening(sounds: Mapping[str, Audio], label: str) -> Listening | None:
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
    return Listening(
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
