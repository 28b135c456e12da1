"""The voices that are rendered: which soundfont plays which class, on which side of the split, from which samples."""

import csv
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from openset.packages import fetch_package, unpack_package
from openset.phrases import Style
from querysep.data.manifest import Clip, Split
from querysep.errors import DataError

Font = Literal["fluid", "musescore", "black-pearl", "red-zeppelin"]

RESERVED_PROGRAMS = frozenset({12, 13, 21, 23, 46, 104, 114, *range(120, 128)})
RESERVED_DRUM_KEYS = frozenset({71, 72})
DRUM_BANK = 128

SHARED_KITS = ("hydrogen-drumkits:The Black Pearl 1.0", "hydrogen-drumkits:Gimme A Hand 1.0")
"""Origins with the same recordings as the soundfonts of avldrums."""
SHARED_FAMILY = "avldrums"

INSTRUMENT, SAMPLE, KEY_RANGE = 41, 53, 43
"""Generators, as the SF2 standard numbers them."""

WINDOW = 48
"""Values that are compared at once."""
SPACING = 64
"""About one window in so many is kept; which ones follows from the sound alone."""
QUIETEST = 64
"""A window whose values span less may be silence, which is alike everywhere."""
FEWEST_SHARED = 3
"""Windows in common that make two samples one recording."""

Zone = tuple[int, int, int]
"""What is played, and from which to which key."""


@dataclass(frozen=True)
class Source:
    """Where a soundfont comes from."""

    package: str
    path: str
    licence: str
    by: str


SOURCES: dict[Font, Source] = {
    "fluid": Source(
        "fluid-soundfont-gm", "usr/share/sounds/sf2/FluidR3_GM.sf2", "MIT", "FluidR3, by Frank Wen and others"
    ),
    "musescore": Source(
        "musescore-general-soundfont-lossless",
        "usr/share/sounds/sf2/MuseScore_General_Full.sf2",
        "MIT, parts CC0-1.0 and public domain",
        "MuseScore General, by S. Christian Collins, Michael Cowgill, Frank Wen and others",
    ),
    "black-pearl": Source(
        "avldrums.lv2-soundfont",
        "usr/share/sounds/sf2/Black_Pearl_4_LV2.sf2",
        "CC-BY-SA-3.0",
        "Black Pearl, © 2015 Glen MacArthur",
    ),
    "red-zeppelin": Source(
        "avldrums.lv2-soundfont",
        "usr/share/sounds/sf2/Red_Zeppelin_4_LV2.sf2",
        "CC-BY-SA-3.0",
        "Red Zeppelin, © 2015 Glen MacArthur",
    ),
}


@dataclass(frozen=True)
class Instrument:
    """A voice of a soundfont."""

    label: str
    style: Style
    font: Font
    bank: int
    preset: int
    keys: tuple[int, ...]
    family: str
    """Voices with recordings in common are of one family, whichever soundfont they are in."""
    split: Split

    @property
    def drums(self) -> bool:
        """Whether it is played on the drum channel."""
        return self.bank == DRUM_BANK

    @property
    def name(self) -> str:
        """For files: soundfont, family, bank and program."""
        return f"{self.font}-{self.family}-{self.bank}-{self.preset}"


def read_instruments() -> list[Instrument]:
    """Read the list that is bundled with this package.

    Returns:
        The voices, none of them of a reserved program or key.
    """
    text = files("openset").joinpath("assets", "instruments.csv").read_text(encoding="utf-8")
    return [
        Instrument(
            row["label"],
            cast(Style, row["style"]),
            cast(Font, row["soundfont"]),
            int(row["bank"]),
            int(row["preset"]),
            _keys(row["keys"]),
            row["family"],
            cast(Split, row["split"]),
        )
        for row in csv.DictReader(text.splitlines())
    ]


def fetch_soundfonts(fonts: Sequence[Font], cache: Path) -> dict[Font, Path]:
    """Download soundfonts, once.

    Args:
        fonts: which ones.
        cache: folder for the packages.

    Returns:
        The soundfont files.

    Raises:
        DataError: one cannot be had.
    """
    found: dict[Font, Path] = {}
    for font in fonts:
        source = SOURCES[font]
        deb = fetch_package(source.package, cache)
        files_ = unpack_package(deb, [source.path], cache / "unpacked" / source.package)
        if source.path not in files_:
            raise DataError(f"'{source.package}' holds no '{source.path}'. Delete it from '{cache / 'deb'}'.")
        found[font] = files_[source.path]
    return found


def playable(instruments: Sequence[Instrument], clips: Sequence[Clip]) -> list[Instrument]:
    """Leave out the voices whose recordings a set may have already on a side that is not trained on.

    Args:
        instruments: all voices.
        clips: recordings of the set.

    Returns:
        All of them, less those of avldrums of a class that the kits with the same recordings have elsewhere.
    """
    elsewhere = {clip.labels[0] for clip in clips if clip.split != "train" and clip.origin.split("#")[0] in SHARED_KITS}
    return [one for one in instruments if not (one.family == SHARED_FAMILY and one.label in elsewhere)]


def check_split(instruments: Sequence[Instrument], fonts: Mapping[Font, Path]) -> None:
    """Make sure that no recording in the soundfonts is played on two sides.

    Args:
        instruments: the voices.
        fonts: the soundfont files.

    Raises:
        DataError: two voices on different sides play the same recording, or samples of one name.
    """
    opened = {font: Soundfont(path) for font, path in fonts.items()}
    names: dict[str, Instrument] = {}
    owners: dict[int, Instrument] = {}
    seen: dict[tuple[Font, int], Split] = {}
    for one in sorted(instruments, key=lambda voice: voice.split):
        played = opened[one.font].samples_of(one.bank, one.preset, one.keys)
        if not played:
            raise DataError(f"The soundfont '{one.font}' has no preset {one.bank}:{one.preset} for '{one.label}'.")
        for sample in sorted(played):
            before = seen.setdefault((one.font, sample), one.split)
            other = names.setdefault(opened[one.font].name_of(sample), one)
            if before != one.split or other.split != one.split:
                raise _torn(one, other)
            hashes = opened[one.font].fingerprint(sample)
            shared = [owners[number] for number in hashes if number in owners]
            strange = [voice for voice in shared if voice.split != one.split]
            if len(strange) >= FEWEST_SHARED:
                raise _torn(one, strange[0])
            owners.update({number: one for number in hashes if number not in owners})


def _torn(one: Instrument, other: Instrument) -> DataError:
    return DataError(
        f"'{one.name}' ({one.label}, {one.split}) and '{other.name}' ({other.label}, {other.split}) play the same "
        "recordings. Put them on one side in instruments.csv."
    )


def _keys(text: str) -> tuple[int, ...]:
    """Read '36-88' or '35 36'."""
    if "-" in text:
        low, high = text.split("-")
        return tuple(range(int(low), int(high) + 1))
    return tuple(int(key) for key in text.split())


class Soundfont:
    """The structure of an SF2 file; the sound itself stays on disk until it is compared."""

    def __init__(self, path: Path) -> None:
        try:
            self._data = np.memmap(path, dtype=np.uint8, mode="r")
        except (OSError, ValueError) as error:
            raise DataError(f"Cannot read the soundfont '{path}': {error}.") from error
        if bytes(self._data[:4]) != b"RIFF" or bytes(self._data[8:12]) != b"sfbk":
            raise DataError(f"'{path}' is no SF2 soundfont. Delete it and fetch it again.")
        self._places = {
            name: place
            for kind, (start, end) in _chunks(self._data, 12, len(self._data))
            if kind == b"LIST"
            for name, place in _chunks(self._data, start + 4, end)
        }

    @cached_property
    def presets(self) -> dict[tuple[int, int], list[Zone]]:
        """The samples of every preset, by bank (128: drum kits) and program."""
        instruments = self._zones([bag for (bag,) in self._table(b"inst", "<20xH")], b"ibag", b"igen", SAMPLE)
        heads = self._table(b"phdr", "<20xHHH12x")
        layers = self._zones([bag for _, _, bag in heads], b"pbag", b"pgen", INSTRUMENT)
        return {
            (bank, program): [
                (sample, max(low, lowest), min(high, highest))
                for instrument, lowest, highest in zones
                for sample, low, high in instruments[instrument]
                if max(low, lowest) <= min(high, highest)
            ]
            for (program, bank, _), zones in zip(heads[:-1], layers, strict=True)
        }

    @cached_property
    def _names(self) -> list[str]:
        """The names of the samples."""
        start, end = self._places[b"shdr"]
        raw = struct.iter_unpack("<20s26x", bytes(self._data[start:end]))
        return [name.split(b"\0")[0].decode("latin1").strip() for (name,) in raw]

    def name_of(self, sample: int) -> str:
        """Name a sample; the two sides of a stereo pair have one name.

        Args:
            sample: place in ``samples``.

        Returns:
            In small letters, without what tells left from right.
        """
        return re.sub(r"(\(?-?[lr]\)?|_[lr])$", "", self._names[sample].lower()).strip()

    @cached_property
    def samples(self) -> list[tuple[int, int]]:
        """First value and end of every sample."""
        return [(start, end) for start, end in self._table(b"shdr", "<20xII18x")[:-1]]

    def samples_of(self, bank: int, program: int, keys: Iterable[int]) -> set[int]:
        """Say which samples a voice can play.

        Args:
            bank: 128 for drum kits.
            program: of the preset.
            keys: that are struck.

        Returns:
            Places in ``samples``; empty where there is no such preset.
        """
        struck = set(keys)
        return {
            sample
            for sample, low, high in self.presets.get((bank, program), ())
            if not struck.isdisjoint(range(low, high + 1))
        }

    def fingerprint(self, sample: int) -> frozenset[int]:
        """Describe a sample such that stretches of the same recording have numbers in common.

        Args:
            sample: place in ``samples``.

        Returns:
            Hashes, alike wherever the recording was cut, as long as the process runs.
        """
        start, end = self.samples[sample]
        first, _ = self._places[b"smpl"]
        return window_hashes(np.asarray(self._data[first + 2 * start : first + 2 * end].view("<i2"), dtype=np.int16))

    def _table(self, name: bytes, layout: str) -> list[tuple[int, ...]]:
        start, end = self._places[name]
        return list(struct.iter_unpack(layout, bytes(self._data[start:end])))

    def _zones(self, first_bags: list[int], bags: bytes, generators: bytes, target: int) -> list[list[Zone]]:
        """Read the zones of each preset or instrument; a first zone without a target sets the range of all."""
        starts = [generator for generator, _ in self._table(bags, "<HH")]
        values = self._table(generators, "<HBB")
        found = []
        for first, end in pairwise(first_bags):
            zones, usual = [], (0, 127)
            for bag in range(first, end):
                low, high = usual
                played = None
                for kind, one, two in values[starts[bag] : starts[bag + 1]]:
                    if kind == KEY_RANGE:
                        low, high = one, two
                    elif kind == target:
                        played = one + 256 * two
                if played is not None:
                    zones.append((played, low, high))
                elif bag == first:
                    usual = (low, high)
            found.append(zones)
        return found


def window_hashes(content: npt.NDArray[np.int16]) -> frozenset[int]:
    """Hash windows of a sound at places that its own values choose.

    Args:
        content: shape (time,).

    Returns:
        Hashes; a stretch of the sound that starts elsewhere has the same ones.
    """
    if content.size < WINDOW:
        return frozenset()
    values = content.astype(np.uint32)
    size = content.size - WINDOW + 1
    mixed = np.zeros(size, dtype=np.uint32)
    for place in range(0, WINDOW, 6):
        mixed = (mixed ^ values[place : place + size]) * np.uint32(2_654_435_761)
        mixed ^= mixed >> np.uint32(15)
    chosen = np.flatnonzero(mixed % SPACING == 0)
    windows = np.lib.stride_tricks.sliding_window_view(content, WINDOW)[chosen]
    loud = np.ptp(windows.astype(np.int32), axis=1) >= QUIETEST
    return frozenset(hash(window.tobytes()) for window in windows[loud])


def _chunks(data: npt.NDArray[np.uint8], start: int, end: int) -> Iterator[tuple[bytes, tuple[int, int]]]:
    while start + 8 <= end:
        name, size = struct.unpack("<4sI", bytes(data[start : start + 8]))
        yield name, (start + 8, start + 8 + size)
        start += 8 + size + size % 2
