"""Instruments rendered from soundfonts: clips with clean labels for the open sound set."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soundfile

from openset.clips import SAMPLE_RATE, slug, trim, write_clip
from openset.instruments import (
    SOURCES,
    Font,
    Instrument,
    check_split,
    fetch_soundfonts,
    playable,
    read_instruments,
)
from openset.phrases import ARTICULATIONS, perform
from openset.recordings import HELD_OUT, labels_of
from openset.synthesizer import Render, find_fluidsynth, midi_file, play_with
from querysep.data.formats.multitrack import MUSIC_FOLDER, is_stem
from querysep.data.manifest import RENDERED, Clip, Split, is_rendered, read_manifest, write_manifest
from querysep.data.splitting import rank
from querysep.errors import DataError
from querysep.progress import Progress, silent

PHRASES: dict[Split, int] = {"train": 48, "test": 10}
"""Clips of a class."""
SHORTEST_PHRASE_S, LONGEST_PHRASE_S = 6.0, 14.0
LONGEST_CLIP_S = 15.0
THREADS = 2


@dataclass(frozen=True)
class Players:
    """What plays: the voices that may be in a set, the soundfonts, and how."""

    instruments: list[Instrument]
    fonts: dict[Font, Path]
    play: Render


def find_players(manifest: Path, cache: Path, render: Render | None) -> Players:
    """Find the voices that may be beside the recordings of a set, and what plays them.

    Args:
        manifest: of the set; none of its recordings may be on another side than a voice made of it.
        cache: folder for the packages of soundfonts and fluidsynth.
        render: how to play; None for the program ``fluidsynth`` with the soundfonts.

    Raises:
        DataError: a soundfont or fluidsynth cannot be had, or the soundfonts play a recording on both sides.
    """
    before = read_manifest(manifest) if manifest.exists() else []
    instruments = playable(read_instruments(), [clip for clip in before if not is_rendered(clip)])
    if render is not None:
        return Players(instruments, dict.fromkeys(SOURCES, Path()), render)
    play = play_with(find_fluidsynth(cache))
    fonts = fetch_soundfonts(list(SOURCES), cache)
    check_split(instruments, fonts)
    return Players(instruments, fonts, play)


def render_instruments(
    directory: Path,
    *,
    cache: Path,
    render: Render | None = None,
    progress: Progress = silent,
) -> list[Clip]:
    """Render phrases and append them to a data set.

    Phrases that are there already are not rendered again; phrases of an earlier edition are deleted.

    Args:
        directory: of the set; ``manifest.jsonl`` is made where there is none.
        cache: folder for the packages of soundfonts and fluidsynth.
        render: how to play; None for the program ``fluidsynth`` with the soundfonts.
        progress: called with the phrases done.

    Returns:
        The rendered clips.

    Raises:
        DataError: a soundfont or fluidsynth cannot be had, or the soundfonts play a recording on both sides.
    """
    manifest = directory / "manifest.jsonl"
    players = find_players(manifest, cache, render)
    tasks = phrases_to_play(players.instruments)
    clips = []
    with ThreadPoolExecutor(THREADS) as pool:
        make = partial(_make_clip, directory=directory, play=players.play, fonts=players.fonts)
        for done, clip in enumerate(pool.map(lambda task: make(*task), tasks), start=1):
            progress(float(done), float(len(tasks)), clip.labels[0])
            clips.append(clip)
    replace_clips(manifest, clips, lambda clip: is_rendered(clip) and not is_stem(clip))
    write_attribution(directory)
    return clips


def phrases_to_play(instruments: Sequence[Instrument]) -> list[tuple[Instrument, int]]:
    """List the phrases to render: a class's families take turns, and so do the voices of a family.

    Args:
        instruments: the voices.

    Returns:
        Voices, each with the number of its phrase among those of the class.
    """
    groups: dict[tuple[str, Split], dict[str, list[Instrument]]] = defaultdict(lambda: defaultdict(list))
    for one in instruments:
        groups[one.label, one.split][one.family].append(one)
    tasks = []
    for (_, split), families in groups.items():
        turns = {family: cycle(voices) for family, voices in families.items()}
        order = islice(cycle(turns), PHRASES[split])
        tasks += [(next(turns[family]), number) for number, family in enumerate(order)]
    return tasks


def replace_clips(manifest: Path, clips: Sequence[Clip], replaced: Callable[[Clip], bool]) -> None:
    """Put clips into a manifest in place of those of an earlier edition, whose files are deleted.

    Args:
        manifest: made where there is none.
        clips: the new ones.
        replaced: tells which ones of the manifest they stand for.
    """
    before = read_manifest(manifest) if manifest.exists() else []
    kept = [clip for clip in before if not replaced(clip)]
    write_manifest([*kept, *clips], manifest)
    named = {clip.path for clip in (*kept, *clips)}
    for clip in before:
        if clip.path not in named:
            (manifest.parent / clip.path).unlink(missing_ok=True)


def write_attribution(directory: Path) -> None:
    """Say which soundfonts were played.

    Args:
        directory: of the set.
    """
    lines = [
        f"- {source.by} (Debian package {source.package}): {source.licence}\n"
        for source in sorted(SOURCES.values(), key=lambda source: source.path)
    ]
    (directory / "ATTRIBUTION_rendered.md").write_text(
        f"Clips whose source begins with `{RENDERED}` are rendered from these soundfonts:\n\n{''.join(lines)}\n"
        f"The parts in `{MUSIC_FOLDER}/` play scores of works in the public domain from the corpus of music21.\n",
        encoding="utf-8",
    )


def clip_of(path: Path, instrument: Instrument, directory: Path) -> Clip:
    """Describe a rendered file.

    Args:
        path: the file.
        instrument: that plays.
        directory: of the set.

    Returns:
        Its line in the manifest.
    """
    source = SOURCES[instrument.font]
    return Clip(
        path=path.relative_to(directory).as_posix(),
        labels=labels_of(instrument.label),
        duration_s=soundfile.info(path).frames / SAMPLE_RATE,
        licence=source.licence,
        source=f"{RENDERED}{source.package}",
        origin=f"soundfont:{instrument.family}",
        split=instrument.split,
        held_out=instrument.label in HELD_OUT,
    )


def _make_clip(
    instrument: Instrument, number: int, *, directory: Path, play: Render, fonts: Mapping[Font, Path]
) -> Clip:
    name = f"{instrument.name}-{number:02d}"
    path = directory / "audio" / instrument.split / slug(instrument.label) / f"rendered-{name}.flac"
    if not path.exists():
        seed = int.from_bytes(rank(f"{instrument.label}/{instrument.split}/{name}")[:8], "big")
        rng = np.random.default_rng(seed)
        length_s = rng.uniform(SHORTEST_PHRASE_S, LONGEST_PHRASE_S)
        articulation = ARTICULATIONS[int(rng.integers(len(ARTICULATIONS)))]
        played = perform(articulation, instrument.style, instrument.keys, length_s, rng)
        midi = midi_file(played, instrument.preset, drums=instrument.drums, bank=instrument.bank)
        samples = trim(play(midi, fonts[instrument.font]))[: int(LONGEST_CLIP_S * SAMPLE_RATE)]
        if samples.size == 0:
            raise DataError(f"The soundfont plays nothing for '{instrument.label}', '{instrument.name}'.")
        peak = rng.uniform(0.25, 0.9)
        write_clip(np.asarray(samples * (peak / np.abs(samples).max()), dtype=np.float32), path)
    return clip_of(path, instrument, directory)
