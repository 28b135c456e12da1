"""A user's bank as one SQLite file: the sounds, and for each detector the embeddings that it made of them.

Any number of processes may read and write at once: a change is one transaction, and others wait for it.
"""

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from querysep.errors import ConfigError, DataError
from querysep.io.bank_file import KeptSound
from querysep.queries.condition import Example

PLACE_VARIABLE = "QUERYSEP_BANK"
FILE = "bank.sqlite"
_IDENTITY = {"application_id": 0x51534550, "user_version": 1}
_WAIT_S = 300.0  # for other processes
_TABLES = """
CREATE TABLE sounds (
    name TEXT NOT NULL, key TEXT NOT NULL, source TEXT NOT NULL, added TEXT NOT NULL, duration_s REAL NOT NULL,
    sample_rate INTEGER NOT NULL, scale REAL NOT NULL, audio BLOB NOT NULL, UNIQUE (name, key)
);
CREATE TABLE embeddings (
    detector TEXT NOT NULL, key TEXT NOT NULL, seconds_used REAL NOT NULL, vector BLOB NOT NULL, profile BLOB NOT NULL,
    UNIQUE (detector, key)
);
"""
_SAMPLE, _VALUE = np.dtype("<i2"), np.dtype("<f4")


def bank_place(given: str | Path | None = None) -> str:
    """Return where the user's bank lies: as given, in QUERYSEP_BANK, or in the platform's data folder.

    Raises:
        ConfigError: the extra is not installed, or the place is no folder of this machine.
    """
    place = str(given or os.environ.get(PLACE_VARIABLE, ""))
    if "://" in place:
        raise ConfigError(f"A bank is a folder of this machine, not '{place}'. Mail it by `querysep bank export`.")
    if place:
        return place.rstrip("/") or place
    try:
        import platformdirs
    except ImportError as error:
        raise ConfigError(
            "The platform's data folder needs the extra 'data': pip install 'querysep[data]'. Or name a folder."
        ) from error
    return str(platformdirs.user_data_path("querysep", appauthor=False) / "bank")


@dataclass(frozen=True)
class SoundFacts:
    """What is known of a sound without reading it."""

    name: str
    source: str
    added: str
    key: str
    duration_s: float


class BankTables:
    """The tables of one bank; it is made by the first sound that is added.

    Args:
        place: a folder.
    """

    def __init__(self, place: str) -> None:
        self.place = place

    def facts(self) -> list[SoundFacts]:
        """Tell of all sounds, oldest first.

        Raises:
            DataError: the bank cannot be read.
        """
        columns = "name, source, added, key, duration_s"
        with self._reading() as database:
            rows = database.execute(f"SELECT {columns} FROM sounds ORDER BY added, name, source").fetchall()
        return [SoundFacts(*row) for row in rows]

    def sounds(self, names: Sequence[str]) -> Iterator[KeptSound]:
        """Read the sounds of some entries, in the order in which they were added.

        Raises:
            DataError: the bank cannot be read.
        """
        with self._reading() as database:
            wanted = "SELECT rowid FROM sounds WHERE name IN (SELECT value FROM json_each(?)) ORDER BY rowid"
            for (number,) in database.execute(wanted, (json.dumps(list(names)),)).fetchall():
                columns = "name, source, added, sample_rate, scale, audio"
                row = database.execute(f"SELECT {columns} FROM sounds WHERE rowid = ?", (number,)).fetchone()
                if row is not None:  # else another process removed it at this moment
                    name, source, added, rate, scale, audio = row
                    yield KeptSound(name, source, added, rate, scale, np.frombuffer(audio, _SAMPLE).astype(np.int16))

    def append(self, sounds: Sequence[KeptSound]) -> None:
        """Add sounds, all or none; one that is there already stays as it is.

        Raises:
            DataError: the bank cannot be written.
        """
        rows = [
            (
                sound.name,
                sound.key,
                sound.source,
                sound.added,
                len(sound.samples) / sound.sample_rate,
                sound.sample_rate,
                sound.scale,
                sound.samples.astype(_SAMPLE).tobytes(),
            )
            for sound in sounds
        ]
        with self._writing() as database:
            database.executemany("INSERT OR IGNORE INTO sounds VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def remove(self, names: Sequence[str]) -> None:
        """Remove entries; their sound leaves the disk.

        Raises:
            DataError: the bank cannot be written.
        """
        with self._writing() as database:
            database.execute(
                "DELETE FROM sounds WHERE name IN (SELECT value FROM json_each(?))", (json.dumps(list(names)),)
            )

    def embeddings(self, detector: str, keys: Sequence[str]) -> dict[str, Example]:
        """Return what a detector made of sounds, as far as it is kept, by key; the examples have no names.

        Raises:
            DataError: the bank cannot be read.
        """
        wanted = (
            "SELECT key, seconds_used, vector, profile FROM embeddings "
            "WHERE detector = ? AND key IN (SELECT value FROM json_each(?))"
        )
        with self._reading() as database:
            rows = database.execute(wanted, (detector, json.dumps(list(keys)))).fetchall()
        return {
            key: Example("", seconds_used, torch.from_numpy(_floats(vector)), torch.from_numpy(_floats(profile)))
            for key, seconds_used, vector, profile in rows
        }

    def embedded_keys(self, detector: str) -> set[str]:
        """Tell which sounds have embeddings by a detector.

        Raises:
            DataError: the bank cannot be read.
        """
        with self._reading() as database:
            return {key for (key,) in database.execute("SELECT key FROM embeddings WHERE detector = ?", (detector,))}

    def keep_embeddings(self, detector: str, examples: dict[str, Example]) -> None:
        """Keep what a detector made of sounds, by key.

        Raises:
            DataError: the bank cannot be written.
        """
        rows = [
            (detector, key, example.seconds_used, _bytes(example.vector), _bytes(example.profile))
            for key, example in examples.items()
            if example.vector is not None
        ]
        if rows:
            with self._writing() as database:
                database.executemany("INSERT OR IGNORE INTO embeddings VALUES (?, ?, ?, ?, ?)", rows)

    def forget_embeddings(self, detector: str, keys: Sequence[str]) -> None:
        """Remove embeddings of sounds that are no longer there.

        Raises:
            DataError: the bank cannot be written.
        """
        if keys:
            gone = "DELETE FROM embeddings WHERE detector = ? AND key IN (SELECT value FROM json_each(?))"
            with self._writing() as database:
                database.execute(gone, (detector, json.dumps(list(keys))))

    def nearest(self, detector: str, vector: NDArray[np.float32], count: int) -> list[tuple[str, float]]:
        """Return the keys of the sounds whose embeddings point most nearly the same way, and the cosines.

        Raises:
            DataError: the bank cannot be read.
        """
        with self._reading() as database:
            rows = database.execute("SELECT key, vector FROM embeddings WHERE detector = ?", (detector,)).fetchall()
        if not rows:
            return []
        vectors = np.stack([_floats(content) for _, content in rows])
        cosines = vectors @ vector / np.maximum(np.linalg.norm(vectors, axis=1) * np.linalg.norm(vector), 1e-12)
        return [(rows[index][0], float(cosines[index])) for index in np.argsort(-cosines, kind="stable")[:count]]

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._errors("read"), closing(self._open()) as database:
            yield database

    def _open(self) -> sqlite3.Connection:
        """Open the bank; an empty one in memory where there is none."""
        folder, path = Path(self.place), Path(self.place) / FILE
        if path.exists():
            database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", _WAIT_S, isolation_level=None, uri=True)
            if _has_tables(database):
                if [database.execute(f"PRAGMA {name}").fetchone()[0] for name in _IDENTITY] == list(_IDENTITY.values()):
                    return database
                database.close()
                raise DataError(f"'{path}' does not hold a bank of this querysep. Choose another place.")
            database.close()  # another process makes it at this moment
        elif (folder / "sounds.lance").exists():
            raise DataError(
                f"The bank '{folder}' was made by an older querysep. Export it with that one and import it here, or "
                "choose another place."
            )
        database = sqlite3.connect(":memory:", isolation_level=None)
        database.executescript(_TABLES)
        return database

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Open the bank in a transaction of its own; it is made if there is none."""
        with self._reading():
            pass  # refuses what is not ours
        path = Path(self.place) / FILE
        with self._errors("written"):
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, _WAIT_S, isolation_level=None)) as database:
                database.execute("PRAGMA auto_vacuum = FULL")  # of a new one: what is removed leaves the disk
                database.execute("PRAGMA secure_delete = ON")
                database.execute("BEGIN IMMEDIATE")
                with database:
                    if not _has_tables(database):
                        for statement in _TABLES.split(";")[:-1]:
                            database.execute(statement)
                        for name, value in _IDENTITY.items():
                            database.execute(f"PRAGMA {name} = {value}")
                    yield database

    @contextmanager
    def _errors(self, done: str) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise DataError(f"The bank '{self.place}' cannot be {done} ({error}).") from error


def _has_tables(database: sqlite3.Connection) -> bool:
    return bool(database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])


def _bytes(values: torch.Tensor | None) -> bytes:
    return b"" if values is None else values.detach().cpu().numpy().astype(_VALUE).tobytes()


def _floats(content: bytes) -> NDArray[np.float32]:
    return np.frombuffer(content, _VALUE).astype(np.float32)
