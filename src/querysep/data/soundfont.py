"""What an SF2 soundfont is made of: which recorded samples a voice plays, and which voices share some."""

import re
import struct
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from querysep.errors import DataError

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
