"""A user's bank for the length of an evaluation, so that ``bank:NAME`` is asked as a user asks it."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from querysep.io.bank_file import KeptSound, write_bank_file
from querysep.queries.bank import Bank
from querysep.queries.query import Query
from querysep.types import Audio


class PassingBank:
    """A bank in a folder that goes with it.

    Attributes:
        place: of the bank.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="querysep-bank-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self.place = self._folder / "bank"
        self._kept: set[str] = set()

    def keep(self, name: str, sounds: Mapping[str, Audio]) -> Query:
        """Import sounds as an entry, by the file that ``querysep bank export`` writes; return the query for it.

        Args:
            name: of the entry.
            sounds: mono, by where they come from.

        Raises:
            ConfigError: the extra 'data' is not installed.
        """
        if name not in self._kept:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            file = self._folder / "entry.qsbank"
            write_bank_file(
                file,
                [KeptSound.of(sound, name, Path(source).name, now) for source, sound in sounds.items()],
                overwrite=True,
            )
            Bank(self.place).load(file)
            self._kept.add(name)
        return Query.bank(name)
