"""Scores from the corpus of music21: notes of every part, and excerpts given to instruments of a soundfont."""

import csv
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from threading import Lock

import numpy as np

from querysep.data.instruments import Instrument
from querysep.data.phrases import Note
from querysep.errors import DataError

LOUDNESS = {"pppp": 30, "ppp": 36, "pp": 45, "p": 56, "mp": 68, "mf": 80, "f": 94, "ff": 106, "fff": 115, "ffff": 120}
USUAL_LOUDNESS = 78
SHORTEST_EXCERPT_S, LONGEST_EXCERPT_S = 12.0, 18.0
FEWEST_NOTES = 5
SOUNDING_SHARE = 0.4
"""A part takes part in an excerpt where it sounds for at least this share of it."""
SLOWEST_QUARTER_S, FASTEST_QUARTER_S = 0.95, 0.45
TRANSPOSITIONS = (0, 12, -12, 24, -24)


_READING = Lock()
"""music21 reads one score at a time."""


@dataclass(frozen=True)
class Piece:
    """A score of the corpus that may be used."""

    path: str
    excerpts: int
    terms: str
    """Of the encoding; the works are in the public domain."""


@dataclass(frozen=True)
class ScoreNote:
    """A note; times in quarter notes."""

    start: float
    duration: float
    key: int
    velocity: int


@dataclass(frozen=True)
class Part:
    """What one player reads."""

    name: str
    notes: tuple[ScoreNote, ...]


@dataclass(frozen=True)
class Excerpt:
    """Some quarters of a score, and the parts that sound in them."""

    start: float
    quarter_s: float
    duration_s: float
    parts: tuple[Part, ...]


def read_pieces() -> list[Piece]:
    """Read the list that is bundled with the library.

    Returns:
        Scores whose encodings do not forbid this use.
    """
    text = files("querysep").joinpath("assets", "open_set", "scores.csv").read_text(encoding="utf-8")
    return [Piece(row["piece"], int(row["excerpts"]), row["terms"]) for row in csv.DictReader(text.splitlines())]


def read_score(piece: str, cache: Path) -> list[Part]:
    """Read a score of the corpus; what was read once is kept.

    Args:
        piece: path inside the corpus.
        cache: folder for what was read.

    Returns:
        The parts that have notes.

    Raises:
        DataError: music21 is not installed, or cannot read the piece.
    """
    kept = cache / "scores" / f"{piece.replace('/', '-')}.json"
    if kept.exists():
        stored = json.loads(kept.read_text(encoding="utf-8"))
        return [Part(part["name"], tuple(ScoreNote(**note) for note in part["notes"])) for part in stored]
    parts = _parse(piece)
    kept.parent.mkdir(parents=True, exist_ok=True)
    part_file = kept.with_name(kept.name + ".part")
    part_file.write_text(json.dumps([asdict(part) for part in parts]), encoding="utf-8")
    part_file.replace(kept)
    return parts


def take_excerpt(parts: Sequence[Part], fewest: int, rng: np.random.Generator) -> Excerpt | None:
    """Find a stretch of a score in which enough parts sound.

    Args:
        parts: of the score.
        fewest: parts that have to sound.
        rng: draws the tempo, the length and the place.

    Returns:
        The excerpt, its notes counted from its start; None where the score has no such stretch.
    """
    end = max((note.start + note.duration for part in parts for note in part.notes), default=0.0)
    for _ in range(12):
        quarter_s = rng.uniform(FASTEST_QUARTER_S, SLOWEST_QUARTER_S)
        duration_s = rng.uniform(SHORTEST_EXCERPT_S, LONGEST_EXCERPT_S)
        length = duration_s / quarter_s
        if length > end:
            continue
        start = float(np.floor(rng.uniform(0, end - length)))
        inside = [_cut(part, start, length) for part in parts]
        sounding = [part for part in inside if _sounds(part, length)]
        if len(sounding) >= fewest:
            return Excerpt(start, quarter_s, duration_s, tuple(sounding))
    return None


def fitting_shift(part: Part, instrument: Instrument) -> int | None:
    """Say by how many octaves a part has to be moved to lie in an instrument's range.

    Args:
        part: of an excerpt.
        instrument: a voice.

    Returns:
        Semitones, as few as possible; None where it does not fit.
    """
    keys = [note.key for note in part.notes]
    for shift in TRANSPOSITIONS:
        if min(keys) + shift >= instrument.keys[0] and max(keys) + shift <= instrument.keys[-1]:
            return shift
    return None


def play_part(part: Part, shift: int, quarter_s: float, rng: np.random.Generator) -> list[Note]:
    """Turn a part into notes as a person would play them: a little early or late, louder or softer.

    Args:
        part: of an excerpt.
        shift: semitones.
        quarter_s: length of a quarter note.
        rng: where chance comes from.

    Returns:
        Notes in seconds.
    """
    held = rng.uniform(0.8, 1.0)
    accent = rng.normal(0, 6)
    notes = []
    for note in part.notes:
        start_s = max(note.start * quarter_s + rng.normal(0, 0.012), 0.0)
        on_the_beat = 4.0 if note.start % 1 == 0 else 0.0
        velocity = int(np.clip(note.velocity + accent + on_the_beat + rng.normal(0, 6), 25, 124))
        notes.append(Note(start_s, max(note.duration * quarter_s * held, 0.05), note.key + shift, velocity))
    return sorted(notes, key=lambda one: one.start_s)


def _cut(part: Part, start: float, length: float) -> Part:
    """Keep the notes that begin in a stretch; what sounds on behind its end is cut."""
    return Part(
        part.name,
        tuple(
            ScoreNote(note.start - start, min(note.duration, start + length - note.start), note.key, note.velocity)
            for note in part.notes
            if start <= note.start < start + length
        ),
    )


def _sounds(part: Part, length: float) -> bool:
    sounding = sum(note.duration for note in part.notes)
    return len(part.notes) >= FEWEST_NOTES and sounding >= SOUNDING_SHARE * length


def _parse(piece: str) -> list[Part]:
    try:
        from music21 import converter, corpus
    except ModuleNotFoundError as error:
        raise DataError("Rendering scores needs music21: `pip install 'querysep[data]'`.") from error
    try:
        with _READING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of measures that are too full: none of the user's doing
            score = converter.parse(corpus.getWork(piece))
            read = [(str(part.partName or ""), _notes_of(part)) for part in score.getElementsByClass("Part")]
    except Exception as error:  # music21 raises whatever a score provokes
        raise DataError(f"music21 cannot read its score '{piece}': {error}.") from error
    return [Part(name, tuple(notes)) for name, notes in read if notes]


def _notes_of(part: object) -> list[ScoreNote]:
    """List a part's notes, tied ones as one; dynamics set the velocity of what follows, grace notes are left out."""
    from music21 import dynamics, note, stream

    loudness = USUAL_LOUDNESS
    notes = []
    if not isinstance(part, stream.Stream):  # pragma: no cover - music21 gives streams
        return []
    for element in part.stripTies().flatten():
        if isinstance(element, dynamics.Dynamic):
            loudness = LOUDNESS.get(str(element.value), loudness)
        elif isinstance(element, note.NotRest) and element.quarterLength > 0:
            start, duration = float(element.offset), float(element.quarterLength)
            notes += [ScoreNote(start, duration, int(pitch.midi), loudness) for pitch in element.pitches]
    return sorted(notes, key=lambda one: (one.start, one.key))
