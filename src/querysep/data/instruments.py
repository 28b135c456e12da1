"""The voices that are rendered: which soundfont plays which class, and on which side of the split."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal, cast

from querysep.data.debian import fetch_package, unpack_package
from querysep.data.manifest import Clip, Split
from querysep.data.phrases import Style
from querysep.data.soundfont import FEWEST_SHARED, Soundfont
from querysep.errors import DataError

Font = Literal["fluid", "musescore", "black-pearl", "red-zeppelin"]

RESERVED_PROGRAMS = frozenset({12, 13, 21, 23, 46, 104, 114, *range(120, 128)})
RESERVED_DRUM_KEYS = frozenset({71, 72})
DRUM_BANK = 128

SHARED_KITS = ("hydrogen-drumkits:The Black Pearl 1.0", "hydrogen-drumkits:Gimme A Hand 1.0")
"""Origins with the same recordings as the soundfonts of avldrums."""
SHARED_FAMILY = "avldrums"


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
    """Read the list that is bundled with the library.

    Returns:
        The voices, none of them of a reserved program or key.
    """
    text = files("querysep").joinpath("assets", "open_set", "instruments.csv").read_text(encoding="utf-8")
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
