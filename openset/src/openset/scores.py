"""Whole scores from the corpus of music21, rendered from soundfonts with a stem for every instrument."""

import csv
import json
import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from threading import Lock

import numpy as np

from openset.clips import SAMPLE_RATE, Samples, decode, slug, write_clip
from openset.instruments import Font, Instrument
from openset.phrases import Note, Performance, make_phrase
from openset.rendering import THREADS, clip_of, find_players, replace_clips, write_attribution
from openset.synthesizer import Render, midi_file
from querysep.data.formats.multitrack import MULTITRACK, MUSIC_FOLDER, Multitrack, Stem, is_stem, write_multitracks
from querysep.data.manifest import Clip, Split, is_rendered
from querysep.data.splitting import rank
from querysep.errors import DataError
from querysep.progress import Progress, silent

TEST_SHARE = 0.5
FEWEST_STEMS: dict[Split, int] = {"train": 3, "test": 4}
MOST_STEMS = 4
WITH_RHYTHM = 0.35
"""Share of the excerpts in which a drum takes the place of the last part."""
WITH_OWN_INSTRUMENT = 0.4
"""Share of the parts that keep the instrument that the score names, where it can be had."""
OWN_LABELS = {
    "violin": "Violin, fiddle",
    "viola": "Bowed string instrument",
    "cello": "Cello",
    "bass": "Double bass",
    "flute": "Flute",
    "oboe": "Wind instrument, woodwind instrument",
    "clarinet": "Clarinet",
    "horn": "French horn",
    "trumpet": "Trumpet",
    "timpani": "Timpani",
}
RHYTHM_LABELS = frozenset({"Drum", "Snare drum", "Hi-hat", "Cymbal", "Bass drum", "Cowbell", "Maraca"})
STEM_PEAK = 0.7
MIXTURE_PEAK = 0.9
SPREAD_DB = 5.0
TAIL_S = 0.5

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


@dataclass(frozen=True)
class Seat:
    """An instrument and what it plays."""

    instrument: Instrument
    notes: tuple[Note, ...]


def render_music(
    directory: Path,
    *,
    cache: Path,
    pieces: Sequence[Piece] | None = None,
    render: Render | None = None,
    progress: Progress = silent,
) -> list[Multitrack]:
    """Render excerpts of scores into a data set: clips for its manifest, and ``multitrack.jsonl``.

    Stems that are there already are not rendered again.

    Args:
        directory: of the set; ``manifest.jsonl`` is made where there is none.
        cache: folder for the packages of soundfonts and fluidsynth, and for scores that were read.
        pieces: None for those of the bundled list.
        render: how to play; None for the program ``fluidsynth`` with the soundfonts.
        progress: called with the excerpts done.

    Returns:
        The pieces with their stems.

    Raises:
        DataError: a soundfont or fluidsynth cannot be had, or music21 cannot read a piece.
    """
    manifest = directory / "manifest.jsonl"
    players = find_players(manifest, cache, render)
    studio = _Studio(directory, cache, players.instruments, players.fonts, players.play)
    tasks = [(piece, number) for piece in pieces or read_pieces() for number in range(piece.excerpts)]
    found: list[Multitrack] = []
    clips: list[Clip] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for done, made in enumerate(pool.map(lambda task: studio.record(*task), tasks), start=1):
            progress(float(done), float(len(tasks)), tasks[done - 1][0].path)
            if made is not None:
                found.append(made[0])
                clips += made[1]
    replace_clips(manifest, clips, lambda clip: is_rendered(clip) and is_stem(clip))
    write_multitracks(found, directory / MULTITRACK)
    write_attribution(directory)
    return found


def side_of(piece: str) -> Split:
    """Say on which side a piece is played; all its movements are on one side.

    Args:
        piece: path in the corpus.

    Returns:
        The same for ever.
    """
    work = piece.rsplit("/", 1)[0] if piece.count("/") > 1 else piece
    return "test" if int.from_bytes(rank(f"side of {work}")[:4], "big") < TEST_SHARE * 2**32 else "train"


def cast_parts(excerpt: Excerpt, instruments: Sequence[Instrument], rng: np.random.Generator) -> list[Seat]:
    """Give the parts of an excerpt to instruments of different classes.

    Args:
        excerpt: with three parts or more.
        instruments: of one side of the split.
        rng: where chance comes from.

    Returns:
        Up to four instruments; fewer where no instrument of another class fits a part.
    """
    parts = [excerpt.parts[place] for place in rng.permutation(len(excerpt.parts))[:MOST_STEMS]]
    rhythm = rng.random() < WITH_RHYTHM
    seats: list[Seat] = []
    for part in parts[: MOST_STEMS - 1] if rhythm else parts:
        seat = _seat(part, excerpt, instruments, {one.instrument.label for one in seats}, rng)
        if seat is not None:
            seats.append(seat)
    if rhythm:
        seats.append(_rhythm_seat(excerpt, instruments, rng))
    return seats


@dataclass(frozen=True)
class _Studio:
    """Everything that recording takes."""

    directory: Path
    cache: Path
    instruments: Sequence[Instrument]
    fonts: Mapping[Font, Path]
    play: Render

    def record(self, piece: Piece, number: int) -> tuple[Multitrack, list[Clip]] | None:
        split = side_of(piece.path)
        rng = np.random.default_rng(int.from_bytes(rank(f"{piece.path}/{number}")[:8], "big"))
        excerpt = take_excerpt(read_score(piece.path, self.cache), FEWEST_STEMS[split], rng)
        if excerpt is None:
            return None
        seats = cast_parts(excerpt, [one for one in self.instruments if one.split == split], rng)
        if len(seats) < FEWEST_STEMS[split]:
            return None
        loudness_db = rng.uniform(-SPREAD_DB, SPREAD_DB, len(seats)).tolist()
        name = f"{slug(piece.path.rsplit('.', 1)[0])}-{number}"
        paths = [
            self._stem(seat, excerpt.duration_s, self.directory / MUSIC_FOLDER / split / name / f"{place}")
            for place, seat in enumerate(seats, start=1)
        ]
        gains = mixing_gains([decode(path) for path in paths], loudness_db)
        clips = [clip_of(path, seat.instrument, self.directory) for path, seat in zip(paths, seats, strict=True)]
        stems = [Stem(path=clip.path, label=clip.labels[0], gain=gain) for clip, gain in zip(clips, gains, strict=True)]
        made = Multitrack(
            name=name,
            piece=piece.path,
            terms=piece.terms,
            start_quarter=excerpt.start,
            quarter_s=excerpt.quarter_s,
            duration_s=clips[0].duration_s,
            split=split,
            stems=tuple(stems),
        )
        return made, clips

    def _stem(self, seat: Seat, duration_s: float, stem: Path) -> Path:
        """Render a part, unless it is there; cut it to the length of the excerpt with a short fade."""
        one = seat.instrument
        path = stem.with_name(f"{stem.name}-{slug(one.label)}-{one.name}.flac")
        if path.exists():
            return path
        midi = midi_file(Performance(seat.notes), one.preset, drums=one.drums, bank=one.bank)
        played = self.play(midi, self.fonts[one.font])
        length = int((duration_s + TAIL_S) * SAMPLE_RATE)
        sound = np.zeros(length, dtype=np.float32)
        sound[: min(length, played.size)] = played[:length]
        fade = int(TAIL_S * SAMPLE_RATE)
        sound[-fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        peak = float(np.abs(sound).max())
        if peak < 1e-3:
            raise DataError(f"The soundfont plays nothing for '{one.label}', '{one.name}'.")
        write_clip(np.asarray(sound * (STEM_PEAK / peak), dtype=np.float32), path)
        return path


def mixing_gains(sounds: Sequence[Samples], loudness_db: Sequence[float]) -> list[float]:
    """Choose gains such that stems have wanted levels beside each other and their sum does not clip.

    Args:
        sounds: the stems, none of them silent.
        loudness_db: the wanted level of each, up to what is common to all.

    Returns:
        A gain for each.
    """
    levels = [float(np.sqrt(np.square(sound, dtype=np.float64).mean())) for sound in sounds]
    gains = [10 ** (wanted / 20) / level for wanted, level in zip(loudness_db, levels, strict=True)]
    mixture = np.sum([sound * gain for sound, gain in zip(sounds, gains, strict=True)], axis=0)
    common = MIXTURE_PEAK / float(np.abs(mixture).max())
    return [round(gain * common, 6) for gain in gains]


def _seat(
    part: Part, excerpt: Excerpt, instruments: Sequence[Instrument], taken: set[str], rng: np.random.Generator
) -> Seat | None:
    """Draw a class that fits the part, then one of its voices; sometimes the class that the score names."""
    fitting: dict[str, list[tuple[Instrument, int]]] = defaultdict(list)
    for one in instruments:
        shift = fitting_shift(part, one) if one.style in ("melody", "chords") else None
        if shift is not None and one.label not in taken:
            fitting[one.label].append((one, shift))
    if not fitting:
        return None
    own = [label for name, label in OWN_LABELS.items() if name in part.name.lower() and label in fitting]
    keeps = bool(own) and rng.random() < WITH_OWN_INSTRUMENT
    near = [label for label, voices in fitting.items() if any(abs(shift) <= 12 for _, shift in voices)]
    label = own[0] if keeps else str(rng.choice(sorted(near or fitting)))
    instrument, shift = fitting[label][int(rng.integers(len(fitting[label])))]
    return Seat(instrument, tuple(play_part(part, shift, excerpt.quarter_s, rng)))


def _rhythm_seat(excerpt: Excerpt, instruments: Sequence[Instrument], rng: np.random.Generator) -> Seat:
    """Let a drum play along, in eighths or sixteenths of the excerpt's tempo."""
    drums = [one for one in instruments if one.label in RHYTHM_LABELS]
    label = str(rng.choice(sorted({one.label for one in drums})))
    voices = [one for one in drums if one.label == label]
    instrument = voices[int(rng.integers(len(voices)))]
    step_s = excerpt.quarter_s / float(rng.choice([1, 2, 2, 4]))
    notes = make_phrase("kit", instrument.keys, excerpt.duration_s, rng)
    onto_beat = [replace(note, start_s=round(note.start_s / step_s) * step_s) for note in notes]
    first = {note.start_s: note for note in reversed(onto_beat)}
    return Seat(instrument, tuple(first[start] for start in sorted(first) if start < excerpt.duration_s))


def read_pieces() -> list[Piece]:
    """Read the list that is bundled with this package.

    Returns:
        Scores whose encodings do not forbid this use.
    """
    text = files("openset").joinpath("assets", "scores.csv").read_text(encoding="utf-8")
    return [Piece(row["piece"], int(row["excerpts"]), row["terms"]) for row in csv.DictReader(text.splitlines())]


def read_score(piece: str, cache: Path) -> list[Part]:
    """Read a score of the corpus; what was read once is kept.

    Args:
        piece: path inside the corpus.
        cache: folder for what was read.

    Returns:
        The parts that have notes.

    Raises:
        DataError: music21 cannot read the piece.
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
    from music21 import converter, corpus  # not at the top: it takes seconds

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
