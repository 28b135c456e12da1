"""Short made-up phrases for one instrument, and the MIDI file that plays them."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Style = Literal["melody", "chords", "beats", "kit"]

SCALES = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 3, 5, 7, 9, 10),
    (0, 2, 4, 7, 9),
    (0, 3, 5, 7, 10),
)
TICKS_PER_SECOND = 1_000
DRUM_CHANNEL = 9


@dataclass(frozen=True)
class Note:
    """One struck or held key."""

    start_s: float
    duration_s: float
    key: int
    velocity: int


def make_phrase(style: Style, keys: Sequence[int], length_s: float, rng: np.random.Generator) -> list[Note]:
    """Make a phrase up: tempo, register, figures and dynamics are drawn.

    Args:
        style: ``melody`` plays one key at a time, ``chords`` also several, ``beats`` and
            ``kit`` play rhythms.
        keys: the MIDI keys that may be struck.
        length_s: seconds in which notes begin.
        rng: where chance comes from.

    Returns:
        Notes in the order of their starts, none of them at or after ``length_s``.
    """
    if style in ("beats", "kit"):
        return _rhythm(keys, length_s, rng)
    return _tune(keys, length_s, rng, chords=style == "chords")


def _rhythm(keys: Sequence[int], length_s: float, rng: np.random.Generator) -> list[Note]:
    step_s = 60 / rng.uniform(70, 160) / int(rng.choice([1, 2, 2, 4]))
    steps = int(rng.choice([8, 12, 16]))
    pattern = rng.random(steps) < rng.uniform(0.35, 0.9)
    pattern[0] = True
    loudness = rng.integers(45, 120, steps)
    struck = rng.choice(np.asarray(keys), steps)
    notes = []
    for index in range(int(length_s / step_s) + 1):
        at = index % steps
        if rng.random() < 0.08:
            struck[at] = rng.choice(np.asarray(keys))
        start_s = index * step_s + abs(rng.normal(0, 0.006))
        if pattern[at] and start_s < length_s:
            velocity = int(np.clip(loudness[at] + rng.normal(0, 8), 20, 127))
            notes.append(Note(start_s, max(step_s * 0.9, 0.1), int(struck[at]), velocity))
    return sorted(notes, key=lambda note: note.start_s)


def _tune(keys: Sequence[int], length_s: float, rng: np.random.Generator, *, chords: bool) -> list[Note]:
    scale = SCALES[int(rng.integers(len(SCALES)))]
    root = int(rng.integers(12))
    allowed = [key for key in keys if (key - root) % 12 in scale]
    width = min(len(allowed), int(rng.integers(8, 15)))
    low = int(rng.integers(len(allowed) - width + 1))
    register = allowed[low : low + width]
    beat_s = 60 / rng.uniform(60, 150)
    held = rng.uniform(0.35, 1.05)
    loudness = rng.uniform(50, 110)
    notes: list[Note] = []
    start_s, place = 0.0, int(rng.integers(width))
    while start_s < length_s:
        figure = str(rng.choice(["scale", "arpeggio", "leaps", "chord"] if chords else ["scale", "arpeggio", "leaps"]))
        up = int(rng.choice([-1, 1]))
        beats = float(rng.choice([1.0, 2.0] if figure == "chord" else [0.25, 0.5, 0.5, 1.0]))
        for _ in range(int(rng.integers(2, 5) if figure == "chord" else rng.integers(4, 9))):
            if start_s >= length_s or rng.random() < 0.06:
                start_s += beats * beat_s
                continue
            velocity = int(np.clip(loudness + rng.normal(0, 12), 25, 127))
            for third in range(int(rng.integers(2, 5)) if figure == "chord" else 1):
                key = register[(place + 2 * third) % width]
                notes.append(Note(start_s, beats * beat_s * held, key, velocity))
            start_s += beats * beat_s
            place = (place + _stride(figure, up, rng)) % width
        loudness = float(np.clip(loudness + rng.normal(0, 10), 45, 115))
    return notes or [Note(0.0, length_s, register[0], 90)]


def _stride(figure: str, up: int, rng: np.random.Generator) -> int:
    match figure:
        case "scale":
            return up
        case "arpeggio":
            return 2 * up
        case _:
            return int(rng.integers(-4, 5))


def midi_file(notes: Sequence[Note], program: int, *, drums: bool) -> bytes:
    """Write a phrase as a standard MIDI file with one track.

    Args:
        notes: of one instrument.
        program: General MIDI program, or the number of the drum kit.
        drums: play on the drum channel.

    Returns:
        The file.
    """
    channel = DRUM_CHANNEL if drums else 0
    events = [(0, 0, bytes([0xC0 | channel, program]))]
    for note in notes:
        start = round(note.start_s * TICKS_PER_SECOND)
        end = start + max(round(note.duration_s * TICKS_PER_SECOND), 1)
        events.append((start, 2, bytes([0x90 | channel, note.key, note.velocity])))
        events.append((end, 1, bytes([0x80 | channel, note.key, 0])))
    track = bytearray(b"\x00\xff\x51\x03" + (1_000_000).to_bytes(3, "big"))
    now = 0
    for tick, _, message in sorted(events):
        track += _variable_length(tick - now) + message
        now = tick
    track += b"\x00\xff\x2f\x00"
    header = b"MThd" + struct.pack(">IHHH", 6, 0, 1, TICKS_PER_SECOND)
    return header + b"MTrk" + struct.pack(">I", len(track)) + bytes(track)


def _variable_length(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(0x80 | (number & 0x7F))
    return bytes(reversed(groups))
