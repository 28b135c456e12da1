"""Whole scores rendered from soundfonts, one stem for every instrument."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from querysep.data.decoding import SAMPLE_RATE, Samples, decode, write_clip
from querysep.data.instruments import (
    Font,
    Instrument,
)
from querysep.data.manifest import Clip, Split, is_rendered
from querysep.data.multitrack import MULTITRACK, Multitrack, Stem, write_multitracks
from querysep.data.open_set import slug
from querysep.data.phrases import Note, Performance, make_phrase
from querysep.data.rendering import (
    MUSIC_FOLDER,
    THREADS,
    clip_of,
    find_players,
    is_stem,
    replace_clips,
    write_attribution,
)
from querysep.data.scores import Excerpt, Part, Piece, fitting_shift, play_part, read_pieces, read_score, take_excerpt
from querysep.data.splitting import rank
from querysep.data.synthesizer import Render, midi_file
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
        progress: is told the excerpts done.

    Returns:
        The pieces with their stems.

    Raises:
        DataError: music21, a soundfont or fluidsynth cannot be had.
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
