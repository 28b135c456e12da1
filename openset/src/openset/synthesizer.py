"""From notes to sound: a MIDI file, and the program fluidsynth that plays it with a soundfont."""

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from openset.clips import SAMPLE_RATE, Samples, decode
from openset.packages import fetch_package
from openset.phrases import Performance
from querysep.errors import DataError

TICKS_PER_SECOND = 1_000
DRUM_CHANNEL = 9
KEPT_ON_THE_SYSTEM = frozenset({"libc6", "libgcc-s1", "libcrypt1", "gcc-12-base", "init-system-helpers"})

Render = Callable[[bytes, Path], Samples]
"""From a MIDI file and a soundfont to mono samples at ``SAMPLE_RATE``."""


@dataclass(frozen=True)
class Program:
    """A fluidsynth that can be started."""

    path: Path
    libraries: Path | None = None
    """Folder of shared libraries that came with it; None: those of the system."""


def find_fluidsynth(cache: Path) -> Program:
    """Take the system's fluidsynth, or fetch its packages and unpack them without installing anything.

    Args:
        cache: folder for the packages.

    Returns:
        A program that starts.

    Raises:
        DataError: there is none and it cannot be fetched.
    """
    installed = shutil.which("fluidsynth")
    if installed is not None:
        return Program(Path(installed))
    try:
        return fetch_fluidsynth(cache)
    except DataError as error:
        raise DataError(f"Rendering needs the program fluidsynth: `apt-get install fluidsynth`. {error}") from error


def fetch_fluidsynth(cache: Path) -> Program:
    """Fetch fluidsynth and the libraries that are missing here.

    Args:
        cache: folder for the packages.

    Returns:
        The unpacked program.

    Raises:
        DataError: apt cannot fetch it, or it does not start.
    """
    directory = cache / "unpacked" / "fluidsynth"
    program = directory / "usr/bin/fluidsynth"
    if not program.exists():
        part = directory.with_name("fluidsynth.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for package in ["fluidsynth", *_missing_packages()]:
            _unpack_whole(fetch_package(package, cache), part)
        _gather_libraries(part)
        shutil.rmtree(directory, ignore_errors=True)
        part.replace(directory)
    found = Program(program, directory / "libraries")
    done = _start(found, ["--version"])
    if done.returncode != 0:
        raise DataError(f"The fluidsynth in '{directory}' does not start: {done.stderr.strip()[-300:]}")
    return found


def play_with(program: Program) -> Render:
    """Play without reverb and chorus.

    Args:
        program: fluidsynth.

    Returns:
        A function from a MIDI file and a soundfont to samples.
    """

    def play(midi: bytes, soundfont: Path) -> Samples:
        with tempfile.TemporaryDirectory() as folder:
            score, sound = Path(folder, "score.mid"), Path(folder, "score.wav")
            score.write_bytes(midi)
            options = ["-n", "-i", "-q", "-g", "0.5", "-r", str(SAMPLE_RATE), "-R", "0", "-C", "0"]
            sparing = ["-o", "synth.dynamic-sample-loading=1"]
            output = ["-O", "float", "-T", "wav", "-F", str(sound)]
            done = _start(program, [*options, *sparing, *output, str(soundfont), str(score)])
            if done.returncode != 0 or not sound.exists():
                raise DataError(f"fluidsynth failed: {done.stderr.strip()[-300:]}")
            return decode(sound)

    return play


def midi_file(performance: Performance, program: int, *, drums: bool, bank: int = 0) -> bytes:
    """Write what one instrument plays as a standard MIDI file with one track.

    Args:
        performance: notes and controllers.
        program: General MIDI program, or the number of the drum kit.
        drums: play on the drum channel.
        bank: of the program; drum kits have none.

    Returns:
        The file.
    """
    channel = DRUM_CHANNEL if drums else 0
    events = [(0, 1, bytes([0xC0 | channel, program]))]
    if bank and not drums:
        events.append((0, 0, bytes([0xB0 | channel, 0, bank])))
    for turn in performance.turns:
        events.append((round(turn.at_s * TICKS_PER_SECOND), 2, bytes([0xB0 | channel, turn.controller, turn.value])))
    for note in performance.notes:
        start = round(note.start_s * TICKS_PER_SECOND)
        end = start + max(round(note.duration_s * TICKS_PER_SECOND), 1)
        events.append((start, 4, bytes([0x90 | channel, note.key, note.velocity])))
        events.append((end, 3, bytes([0x80 | channel, note.key, 0])))
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


def _start(program: Program, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ)
    if program.libraries is not None:
        environment["LD_LIBRARY_PATH"] = str(program.libraries)
    command = [str(program.path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _missing_packages() -> list[str]:
    """List the packages of libraries that fluidsynth needs and this system does not have."""
    options = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    command = ["apt-cache", "depends", "--recurse", *options, "libfluidsynth3"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise DataError(f"Cannot ask apt what fluidsynth needs: {error}.") from error
    names = {line.split(":")[0] for line in done.stdout.splitlines() if line[:1].isalnum()}
    if "libfluidsynth3" not in names:
        raise DataError("apt knows no package 'libfluidsynth3'. Run `apt-get update`.")
    libraries = {name for name in names if name.startswith("lib")} - KEPT_ON_THE_SYSTEM
    return ["libfluidsynth3", *sorted(name for name in libraries - {"libfluidsynth3"} if not _is_installed(name))]


def _is_installed(package: str) -> bool:
    command = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() == "installed"


def _unpack_whole(deb: Path, directory: Path) -> None:
    done = subprocess.run(["dpkg-deb", "-x", str(deb), str(directory)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DataError(f"Cannot unpack '{deb}': {done.stderr.strip()[-300:]}. Delete it and try again.")


def _gather_libraries(directory: Path) -> None:
    """Put a link to every shared library into one folder."""
    libraries = directory / "libraries"
    libraries.mkdir()
    for library in sorted(directory.rglob("*.so*")):
        link = libraries / library.name
        if library.parent != libraries and not link.exists():
            link.symlink_to(Path("..") / library.relative_to(directory))
