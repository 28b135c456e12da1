"""Instruments rendered from a soundfont: clips with clean labels for the open sound set."""

import csv
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import cast

import numpy as np
import soundfile

from querysep.data.debian import fetch_package, unpack_package
from querysep.data.decoding import SAMPLE_RATE, Samples, decode, trim, write_clip
from querysep.data.manifest import RENDERED, Clip, Split, read_manifest, write_manifest
from querysep.data.open_set import slug
from querysep.data.open_set_sources import HELD_OUT, labels_of
from querysep.data.phrases import Style, make_phrase, midi_file
from querysep.data.splitting import rank
from querysep.errors import DataError
from querysep.progress import Progress, silent

PACKAGE = "fluid-soundfont-gm"
SOUNDFONT = "usr/share/sounds/sf2/FluidR3_GM.sf2"
LICENCE = "MIT"
SOURCE = f"{RENDERED}{PACKAGE}"
RESERVED_PROGRAMS = frozenset({12, 13, 21, 23, 46, 104, 114, *range(120, 128)})
RESERVED_DRUM_KEYS = frozenset({71, 72})
PHRASES: dict[Split, int] = {"train": 12, "test": 4}
SHORTEST_PHRASE_S, LONGEST_PHRASE_S = 9.0, 15.0
LONGEST_CLIP_S = 20.0

Render = Callable[[bytes], Samples]
"""From a MIDI file to mono samples at ``SAMPLE_RATE``."""


@dataclass(frozen=True)
class Instrument:
    """A voice of the soundfont."""

    label: str
    style: Style
    preset: int
    keys: tuple[int, ...]
    family: str
    """Voices of one family are made of the same samples."""
    split: Split


def read_instruments() -> list[Instrument]:
    """Read the list that is bundled with the library.

    Returns:
        The voices, none of them of a reserved program or key.
    """
    text = files("querysep").joinpath("assets", "open_set", "instruments.csv").read_text(encoding="utf-8")
    return [
        Instrument(
            row["label"],
            cast(Style, row["style"]),
            int(row["preset"]),
            _keys(row["keys"]),
            row["family"],
            cast(Split, row["split"]),
        )
        for row in csv.DictReader(text.splitlines())
    ]


def render_instruments(
    directory: Path,
    *,
    cache: Path,
    render: Render | None = None,
    progress: Progress = silent,
) -> list[Clip]:
    """Render phrases and append them to a data set.

    Phrases that are there already are not rendered again.

    Args:
        directory: of the set; ``manifest.jsonl`` is made where there is none.
        cache: folder for the soundfont's package.
        render: how to play; None for the program ``fluidsynth`` with the soundfont.
        progress: is told the phrases done.

    Returns:
        The rendered clips.

    Raises:
        DataError: the soundfont or fluidsynth cannot be had.
    """
    play = fluidsynth(fetch_soundfont(cache)) if render is None else render
    tasks = _tasks(read_instruments())
    clips = []
    with ThreadPoolExecutor(2) as pool:
        made = pool.map(lambda task: _make_clip(*task, directory=directory, play=play), tasks)
        for done, clip in enumerate(made, start=1):
            progress(float(done), float(len(tasks)), clip.labels[0])
            clips.append(clip)
    manifest = directory / "manifest.jsonl"
    others = [clip for clip in read_manifest(manifest) if clip.source != SOURCE] if manifest.exists() else []
    write_manifest([*others, *clips], manifest)
    (directory / "ATTRIBUTION_rendered.md").write_text(
        f"`audio/*/*/fluid-*.flac` are rendered from the soundfont of the Debian package {PACKAGE}\n"
        f"(FluidR3, by Frank Wen and others), whose licence is {LICENCE}.\n",
        encoding="utf-8",
    )
    return clips


def fetch_soundfont(cache: Path) -> Path:
    """Download the soundfont, once.

    Args:
        cache: folder for the package.

    Returns:
        The soundfont file.

    Raises:
        DataError: it cannot be had.
    """
    found = unpack_package(fetch_package(PACKAGE, cache), [SOUNDFONT], cache / "unpacked" / PACKAGE)
    if SOUNDFONT not in found:
        raise DataError(f"'{PACKAGE}' holds no '{SOUNDFONT}'. Delete it from '{cache / 'deb'}' and try again.")
    return found[SOUNDFONT]


def fluidsynth(soundfont: Path) -> Render:
    """Play with the program fluidsynth, without its reverb and chorus.

    Args:
        soundfont: an SF2 file.

    Returns:
        A function from a MIDI file to samples.

    Raises:
        DataError: there is no such program here.
    """
    program = shutil.which("fluidsynth")
    if program is None:
        raise DataError("Rendering needs the program fluidsynth: `apt-get install fluidsynth`.")

    def play(midi: bytes) -> Samples:
        with tempfile.TemporaryDirectory() as folder:
            score, sound = Path(folder, "phrase.mid"), Path(folder, "phrase.wav")
            score.write_bytes(midi)
            options = ["-n", "-i", "-q", "-g", "0.5", "-r", str(SAMPLE_RATE), "-R", "0", "-C", "0"]
            output = ["-O", "float", "-T", "wav", "-F", str(sound)]
            command = [program, *options, *output, str(soundfont), str(score)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0 or not sound.exists():
                raise DataError(f"fluidsynth failed: {done.stderr.strip()[-300:]}")
            return decode(sound)

    return play


def _tasks(instruments: Sequence[Instrument]) -> list[tuple[Instrument, int]]:
    """List the phrases to render: a label's voices take turns."""
    groups: dict[tuple[str, Split], list[Instrument]] = defaultdict(list)
    for one in instruments:
        groups[one.label, one.split].append(one)
    return [
        (members[number % len(members)], number)
        for (_, split), members in groups.items()
        for number in range(PHRASES[split])
    ]


def _make_clip(instrument: Instrument, number: int, *, directory: Path, play: Render) -> Clip:
    name = f"{instrument.family}-{instrument.preset}-{number:02d}"
    path = directory / "audio" / instrument.split / slug(instrument.label) / f"fluid-{name}.flac"
    if not path.exists():
        seed = int.from_bytes(rank(f"{instrument.label}/{instrument.split}/{name}")[:8], "big")
        rng = np.random.default_rng(seed)
        length_s = rng.uniform(SHORTEST_PHRASE_S, LONGEST_PHRASE_S)
        notes = make_phrase(instrument.style, instrument.keys, length_s, rng)
        samples = trim(play(midi_file(notes, instrument.preset, drums=instrument.style == "kit")))
        samples = samples[: int(LONGEST_CLIP_S * SAMPLE_RATE)]
        if samples.size == 0:
            raise DataError(f"The soundfont plays nothing for '{instrument.label}', preset {instrument.preset}.")
        peak = rng.uniform(0.25, 0.9)
        write_clip(np.asarray(samples * (peak / np.abs(samples).max()), dtype=np.float32), path)
    return Clip(
        path=path.relative_to(directory).as_posix(),
        labels=labels_of(instrument.label),
        duration_s=soundfile.info(path).frames / SAMPLE_RATE,
        licence=LICENCE,
        source=SOURCE,
        origin=f"fluid:{instrument.family}",
        split=instrument.split,
        held_out=instrument.label in HELD_OUT,
    )


def _keys(text: str) -> tuple[int, ...]:
    """Read '36-88' or '35 36'."""
    if "-" in text:
        low, high = text.split("-")
        return tuple(range(int(low), int(high) + 1))
    return tuple(int(key) for key in text.split())
