"""Short made-up phrases for one instrument: melodies, single notes and ways to play them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Style = Literal["melody", "chords", "beats", "kit"]

SCALES = (
    (0, 2, 4, 5, 7, 9, 11),
    (0, 2, 3, 5, 7, 8, 10),
    (0, 2, 3, 5, 7, 9, 10),
    (0, 2, 4, 7, 9),
    (0, 3, 5, 7, 10),
)


Articulation = Literal["phrase", "single notes", "staccato", "legato", "repeated", "swells"]
ARTICULATIONS: tuple[Articulation, ...] = (
    "phrase",
    "single notes",
    "phrase",
    "staccato",
    "legato",
    "single notes",
    "repeated",
    "swells",
)
"""How a voice's clips are played, in turn; rhythms know phrases, single and repeated strokes only."""

EXPRESSION = 11
"""The MIDI controller that makes a held note louder and softer."""


@dataclass(frozen=True)
class Note:
    """One struck or held key."""

    start_s: float
    duration_s: float
    key: int
    velocity: int


@dataclass(frozen=True)
class Turn:
    """A MIDI controller is set."""

    at_s: float
    controller: int
    value: int


@dataclass(frozen=True)
class Performance:
    """What one instrument plays."""

    notes: tuple[Note, ...]
    turns: tuple[Turn, ...] = ()


def perform(
    articulation: Articulation, style: Style, keys: Sequence[int], length_s: float, rng: np.random.Generator
) -> Performance:
    """Make up what an instrument plays, in one way of playing.

    Args:
        articulation: the way.
        style: see ``make_phrase``.
        keys: the MIDI keys that may be struck.
        length_s: seconds in which notes begin.
        rng: where chance comes from.

    Returns:
        Notes in the order of their starts, none of them at or after ``length_s``.
    """
    rhythm = style in ("beats", "kit")
    match articulation:
        case "single notes":
            return Performance(tuple(_single_notes(keys, length_s, rng, rhythm=rhythm)))
        case "repeated":
            return Performance(tuple(_repeated(keys, length_s, rng)))
        case "swells" if not rhythm:
            return _swells(keys, length_s, rng)
        case "staccato" | "legato" if not rhythm:
            low, high = (0.12, 0.35) if articulation == "staccato" else (0.98, 1.08)
            return Performance(tuple(_held(make_phrase(style, keys, length_s, rng), rng.uniform(low, high), length_s)))
        case _:
            return Performance(tuple(make_phrase(style, keys, length_s, rng)))


def _single_notes(keys: Sequence[int], length_s: float, rng: np.random.Generator, *, rhythm: bool) -> list[Note]:
    """One note after the other with silence in between, from soft to loud, near one register."""
    register = _register(keys, rng, 12)
    notes = []
    start_s = 0.0
    while start_s < length_s:
        duration_s = rng.uniform(0.1, 0.4) if rhythm else rng.uniform(0.4, 2.5)
        notes.append(Note(start_s, duration_s, int(rng.choice(register)), int(rng.integers(30, 125))))
        start_s += duration_s + (rng.uniform(0.2, 0.9) if rhythm else rng.uniform(0.1, 0.6))
    return notes


def _repeated(keys: Sequence[int], length_s: float, rng: np.random.Generator) -> list[Note]:
    """Keys struck again and again, quickly, with rests: tremolo, trills and rolls."""
    register = _register(keys, rng, 8)
    notes = []
    start_s = 0.0
    while start_s < length_s:
        pair = [int(key) for key in rng.choice(register, 2)]
        if rng.random() < 0.6:
            pair = pair[:1]
        step_s, count = 1 / rng.uniform(5, 12), int(rng.integers(4, 20))
        first, last = rng.integers(40, 120, 2)
        for index in range(count):
            if start_s >= length_s:
                break
            loudness = first + (last - first) * index / count + rng.normal(0, 5)
            notes.append(Note(start_s, step_s * 0.85, pair[index % len(pair)], int(np.clip(loudness, 25, 127))))
            start_s += step_s
        start_s += rng.uniform(0.1, 0.8)
    return notes


def _swells(keys: Sequence[int], length_s: float, rng: np.random.Generator) -> Performance:
    """Long notes that grow and fade; instruments that die away by themselves ignore most of it."""
    register = _register(keys, rng, 10)
    notes, turns = [], []
    start_s = 0.0
    while start_s < length_s:
        duration_s = rng.uniform(1.5, 4.0)
        notes.append(Note(start_s, duration_s, int(rng.choice(register)), int(rng.integers(70, 120))))
        low, high, top = rng.uniform(35, 70), rng.uniform(95, 127), rng.uniform(0.2, 0.8)
        for step in range(24):
            place = step / 23
            height = place / top if place < top else (1 - place) / (1 - top)
            turns.append(Turn(start_s + place * duration_s * 0.98, EXPRESSION, int(low + (high - low) * height)))
        start_s += duration_s + rng.uniform(0.02, 0.4)
    return Performance(tuple(notes), tuple(turns))


def _held(notes: Sequence[Note], share: float, length_s: float) -> list[Note]:
    """Hold every note for a share of the time to the next start."""
    starts = sorted({note.start_s for note in notes})
    following = dict(zip(starts, [*starts[1:], max(length_s, starts[-1] + 0.3)], strict=True))
    return [
        replace(note, duration_s=max(0.06, min(share * (following[note.start_s] - note.start_s), 4.0)))
        for note in notes
    ]


def _register(keys: Sequence[int], rng: np.random.Generator, width: int) -> npt.NDArray[np.int64]:
    """Take neighbouring keys."""
    width = min(width, len(keys))
    low = int(rng.integers(len(keys) - width + 1))
    return np.asarray(keys[low : low + width], dtype=np.int64)


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
