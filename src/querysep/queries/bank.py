"""The user's own sounds, by name: kept, found again by what they sound like, and made into queries."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from querysep.detection.identity import detector_hash
from querysep.errors import AudioError, QueryError
from querysep.io.audio_reader import read_audio
from querysep.io.bank_file import KEPT_S, KeptSound, check_name, read_bank_file, write_bank_file
from querysep.queries.bank_tables import BankTables, SoundFacts, bank_place
from querysep.queries.condition import Example
from querysep.queries.examples import Ear, example_files, hear_sound


@dataclass(frozen=True)
class Entry:
    """What a bank has under a name.

    Attributes:
        name: of the entry.
        sounds: its sounds, oldest first.
    """

    name: str
    sounds: tuple[SoundFacts, ...]

    @property
    def seconds(self) -> float:
        """Length of all its sounds."""
        return sum(sound.duration_s for sound in self.sounds)


@dataclass(frozen=True)
class Hit:
    """What a search found.

    Attributes:
        name: of the entry.
        source: the file of its nearest sound.
        cosine: between that sound's embedding and what was searched, -1..1.
    """

    name: str
    source: str
    cosine: float


@dataclass(frozen=True)
class Added:
    """What was added to a bank.

    Attributes:
        name: of the entry: as it is written there already, if only the case differs.
        sounds: how many.
        there: how many were there already.
        warnings: what the user should know.
    """

    name: str
    sounds: int
    there: int
    warnings: tuple[str, ...] = ()


class Bank:
    """A bank in a folder; safe for any number of processes at once.

    Sounds are kept as sound, so that they outlive a model: what another detector made of them is made anew.

    Args:
        place: a folder; by default QUERYSEP_BANK, or the platform's data folder.

    Raises:
        ConfigError: the place is no folder of this machine, or the platform's needs the extra 'data'.
    """

    def __init__(self, place: str | Path | None = None) -> None:
        self.place = bank_place(place)
        self._tables = BankTables(self.place)

    def entries(self) -> list[Entry]:
        """Give all entries by name.

        Raises:
            DataError: the bank cannot be read.
        """
        by_name: dict[str, list[SoundFacts]] = {}
        for sound in self._tables.facts():
            by_name.setdefault(sound.name.casefold(), []).append(sound)
        return [Entry(sounds[0].name, tuple(sounds)) for _, sounds in sorted(by_name.items())]

    def find(self, name: str) -> Entry:
        """Look an entry up; case does not matter.

        Raises:
            QueryError: there is none of this name; offers what comes close.
            DataError: the bank cannot be read.
        """
        entries = {entry.name.casefold(): entry for entry in self.entries()}
        wanted = name.strip().casefold()
        if wanted in entries:
            return entries[wanted]
        if not entries:
            raise QueryError(f"'{name.strip()}': there is no sound in the bank '{self.place}'. {_ADD}")
        close = difflib.get_close_matches(wanted, entries, 3, 0.5)
        close += [key for key in entries if wanted and wanted in key and key not in close]
        offered = ", ".join(f"'{entries[key].name}'" for key in close[:3])
        told = f" Closest: {offered}." if offered else ""
        raise QueryError(f"'{name.strip()}' is not in the bank '{self.place}'.{told} See `querysep bank list`.")

    def add(self, name: str, paths: Sequence[str | Path], ear: Ear) -> Added:
        """Keep sounds under a name, new or not; all of them or none.

        Args:
            name: of the entry.
            paths: files, or folders of files.
            ear: hears whether there is something in them.

        Returns:
            What was added; the warnings name the files of folders that cannot be used and were left out.

        Raises:
            QueryError: the name may not be, there is no such file, a file that is named cannot be used, or nothing in a
                folder can.
            DataError: the bank cannot be written.
        """
        entries = {entry.name.casefold(): entry for entry in self.entries()}
        known = entries.get(check_name(name).casefold())
        there = {sound.key for sound in known.sounds} if known else set()
        spelt = known.name if known else check_name(name)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        files = [file for path in paths for file in example_files(Path(path))]
        sounds: dict[str, KeptSound] = {}
        heard: dict[str, Example] = {}
        warnings: list[str] = []
        skipped: list[str] = []
        named = {Path(path) for path in paths}
        for done, file in enumerate(files):
            ear.progress(done, len(files), "reading sounds")
            try:
                sound, too_long = _kept(file, spelt, now)
                if sound.key not in there:
                    heard[sound.key] = hear_sound(sound.audio, str(file), ear)
                    sounds[sound.key] = sound
                    warnings += heard[sound.key].warnings
            except QueryError as error:
                if file in named:
                    raise
                skipped.append(f"Skipped a sound: {error}")
                continue
            warnings += [too_long] if too_long else []
        if len(skipped) == len(files):
            raise QueryError(f"None of the {len(files)} sounds for '{spelt}' can be used. The last: {skipped[-1]}")
        if sounds:
            self._tables.append(list(sounds.values()))
            self._tables.keep_embeddings(detector_hash(ear.detector), heard)
        return Added(spelt, len(sounds), len(files) - len(skipped) - len(sounds), (*skipped, *warnings))

    def examples(self, name: str, ear: Ear) -> list[Example]:
        """Give the sounds of an entry as embedded examples.

        Raises:
            QueryError: there is no such entry; offers what comes close.
            DataError: the bank cannot be read.
        """
        entry = self.find(name)
        kept = self._tables.embeddings(detector_hash(ear.detector), [sound.key for sound in entry.sounds])
        missing = [sound.key for sound in entry.sounds if sound.key not in kept]
        kept |= self._hear([entry], missing, ear)
        return [
            replace(
                kept[sound.key],
                name=f"{entry.name}: {sound.source}",
                vector=_on(kept[sound.key].vector, ear),
                profile=_on(kept[sound.key].profile, ear),
            )
            for sound in entry.sounds
            if sound.key in kept  # else another process removed it at this moment
        ]

    def search(self, vector: Float[Tensor, " condition_dim"], ear: Ear, count: int = 10) -> list[Hit]:
        """Find the entries that sound most like something; sounds that this detector never heard are embedded first.

        Args:
            vector: of a condition.
            ear: of the same detector.
            count: how many entries, at most.

        Raises:
            DataError: the bank cannot be read, or not be written if it has to be.
        """
        detector = detector_hash(ear.detector)
        entries = self.entries()
        owners: dict[str, list[tuple[str, str]]] = {}
        for entry in entries:
            for sound in entry.sounds:
                owners.setdefault(sound.key, []).append((entry.name, sound.source))
        embedded = self._tables.embedded_keys(detector)
        missing = sorted(owners.keys() - embedded)
        if missing:
            self._tables.keep_embeddings(detector, self._hear(entries, missing, ear))
        self._tables.forget_embeddings(detector, sorted(embedded - owners.keys()))
        wanted, asked, everything = min(count, len(entries)), 10 * count, 2 * len(owners) + 1
        while True:
            hits: dict[str, Hit] = {}
            for key, cosine in self._tables.nearest(detector, _plain(vector), min(asked, everything)):
                for name, source in owners.get(key, ()):
                    hits.setdefault(name, Hit(name, source, cosine))
            if len(hits) >= wanted or asked >= everything:
                return list(hits.values())[:wanted]
            asked *= 10

    def remove(self, names: Sequence[str]) -> list[Entry]:
        """Remove entries, all or none.

        Raises:
            QueryError: there is none of one of the names; offers what comes close.
            DataError: the bank cannot be written.
        """
        entries = [self.find(name) for name in names]
        self._tables.remove(sorted({sound.name for entry in entries for sound in entry.sounds}))
        return entries

    def save(self, path: Path, names: Sequence[str] = (), *, overwrite: bool = False) -> list[Entry]:
        """Write entries, or all, into one file.

        Raises:
            QueryError: there is none of one of the names, or nothing at all.
            DataError: the bank cannot be read.
            OutputError: the file exists, or cannot be written.
        """
        entries = [self.find(name) for name in names] if names else self.entries()
        if not entries:
            raise QueryError(f"There is no sound in the bank '{self.place}'. {_ADD}")
        spelt = {sound.name: entry.name for entry in entries for sound in entry.sounds}
        sounds = [replace(sound, name=spelt[sound.name]) for sound in self._tables.sounds(sorted(spelt))]
        write_bank_file(path, sounds, overwrite=overwrite)
        return entries

    def load(self, path: Path) -> list[Added]:
        """Add all sounds of such a file; those that are there already are left out.

        Raises:
            DataError: the file is damaged or no such file, or the bank cannot be written.
        """
        entries = {entry.name.casefold(): entry for entry in self.entries()}
        spelt = {key: entry.name for key, entry in entries.items()}
        there = {key: {sound.key for sound in entry.sounds} for key, entry in entries.items()}
        new: list[KeptSound] = []
        counts: dict[str, list[int]] = {}
        for sound in read_bank_file(path):
            folded = sound.name.casefold()
            name = spelt.setdefault(folded, sound.name)
            known = sound.key in there.setdefault(folded, set())
            counts.setdefault(name, [0, 0])[known] += 1
            there[folded].add(sound.key)
            new += [] if known else [replace(sound, name=name)]
        if new:
            self._tables.append(new)
        return [Added(name, added, known) for name, (added, known) in counts.items()]

    def _hear(self, entries: Sequence[Entry], keys: Sequence[str], ear: Ear) -> dict[str, Example]:
        """Embed those of the entries' sounds that have one of the keys."""
        if not keys:
            return {}
        wanted = set(keys)
        names = sorted({sound.name for entry in entries for sound in entry.sounds if sound.key in wanted})
        heard: dict[str, Example] = {}
        for sound in self._tables.sounds(names):
            if sound.key in wanted and sound.key not in heard:
                ear.progress(len(heard), len(wanted), "embedding the bank's sounds")
                try:
                    heard[sound.key] = hear_sound(sound.audio, sound.source, ear)
                except QueryError as error:
                    raise QueryError(
                        f"'{sound.name}' of the bank cannot be used: {error} Remove it with `querysep bank remove`."
                    ) from error
        return heard


_ADD = "Add some with `querysep bank add NAME FILES...`."


def _kept(file: Path, name: str, now: str) -> tuple[KeptSound, str | None]:
    """Read a sound, and warn if it is longer than what is kept."""
    try:
        audio = read_audio(file, KEPT_S + 1, mono=True)
    except AudioError as error:
        raise QueryError(f"The sound cannot be kept: {error}") from error
    too_long = f"'{file}' is longer than {KEPT_S:.0f} s; only its beginning is kept."
    return KeptSound.of(audio, name, file.name, now), too_long if audio.duration_s > KEPT_S else None


def _plain(vector: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.asarray(vector.detach().cpu().numpy(), dtype=np.float32)


def _on(tensor: Tensor | None, ear: Ear) -> Tensor | None:
    return None if tensor is None else tensor.to(ear.device)
