"""Sounds that a user keeps: as the bank holds them, and as one file that can be mailed.

The file is a ZIP archive of ``bank.json`` and a 16-bit FLAC file for each sound, so that it can also be listened to. It
holds no embeddings: whoever imports it has them made by the own model. Nothing of it is ever unpacked to a disk.
"""

import hashlib
import io
import math
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from querysep.dsp.downmix import downmix
from querysep.dsp.streaming_resampler import resample
from querysep.errors import DataError, QueryError
from querysep.io.files import atomic_file
from querysep.types import Audio, FloatArray

KEPT_S = 60.0
KEPT_RATE = 48_000  # Hz, at most
_NAME = r"\w(?:[\w .-]{0,62}[\w.-])?"
_FACTS = "bank.json"
_MOST_SOUNDS = 100_000
_LONGEST_SOURCE = 200
_MOST_JSON = 100 << 20
_FULL_SCALE = 32_767
_CONTROL = r"\x00-\x1f\x7f-\x9f"
_UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, RuntimeError)


@dataclass(frozen=True, eq=False)
class KeptSound:
    """A sound of a bank.

    Attributes:
        name: of the entry that it belongs to; an entry has any number of sounds.
        source: the file that it was taken from; only for people to read.
        added: when, ISO 8601 in UTC, to the second.
        sample_rate: in Hz.
        scale: what the largest integer stands for.
        samples: shape (time,), mono.
    """

    name: str
    source: str
    added: str
    sample_rate: int
    scale: float
    samples: NDArray[np.int16]

    @classmethod
    def of(cls, audio: Audio, name: str, source: str, added: str) -> "KeptSound":
        """Keep the first minute of a sound: mono, 16-bit at its own level, at most 48 kHz."""
        rate = min(audio.sample_rate, KEPT_RATE)
        start: FloatArray = audio.samples[:, : math.ceil(KEPT_S * audio.sample_rate)]
        mono = resample(downmix(start, audio.sample_rate)[None], audio.sample_rate, rate)[0]
        scale = float(np.abs(mono).max(initial=0.0)) or 1.0
        shown = re.sub(f"[{_CONTROL}]", "?", source.encode("utf-8", "replace").decode())[:_LONGEST_SOURCE]
        return cls(name, shown, added, rate, scale, np.rint(mono / scale * _FULL_SCALE).astype(np.int16))

    @property
    def audio(self) -> Audio:
        """The sound at its own level."""
        wave = self.samples.astype(np.float32) * np.float32(self.scale / _FULL_SCALE)
        return Audio(wave[None], self.sample_rate)

    @property
    def key(self) -> str:
        """Tells sounds apart by what is heard: 32 hexadecimal digits."""
        digest = hashlib.sha256(f"{self.sample_rate} {self.scale!r} ".encode())
        digest.update(self.samples.astype("<i2").tobytes())
        return digest.hexdigest()[:32]


def check_name(name: str) -> str:
    """Return a name that an entry may have, without spaces around it.

    Raises:
        QueryError: it may not have this one.
    """
    if re.fullmatch(_NAME, name.strip()) is None:
        raise QueryError(
            f"'{name}' cannot be a name in a bank. Use up to 64 letters, digits, spaces, dots, dashes and underscores, "
            "and a letter or digit first."
        )
    return name.strip()


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=f"^{_NAME}$")
    source: str = Field(max_length=_LONGEST_SOURCE, pattern=f"^[^{_CONTROL}]*$")
    added: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    sample_rate: int = Field(ge=1, le=KEPT_RATE)
    scale: float = Field(gt=0, allow_inf_nan=False)
    sound: str = Field(pattern=r"^sounds/\d{6}\.flac$")


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["querysep-bank"] = "querysep-bank"
    format_version: Literal[1] = 1
    sounds: list[_Row] = Field(max_length=_MOST_SOUNDS)


def write_bank_file(path: Path, sounds: Sequence[KeptSound], *, overwrite: bool = False) -> None:
    """Write sounds into one file; it appears whole or not at all.

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    rows = [
        _Row(
            name=sound.name,
            source=sound.source,
            added=sound.added,
            sample_rate=sound.sample_rate,
            scale=sound.scale,
            sound=f"sounds/{number:06d}.flac",
        )
        for number, sound in enumerate(sounds)
    ]
    with atomic_file(path, overwrite=overwrite) as part, zipfile.ZipFile(part, "w") as archive:
        archive.writestr(_FACTS, _Facts(sounds=rows).model_dump_json(indent=1) + "\n", zipfile.ZIP_DEFLATED)
        for row, sound in zip(rows, sounds, strict=True):
            content = io.BytesIO()
            soundfile.write(content, sound.samples, sound.sample_rate, format="FLAC", subtype="PCM_16")
            archive.writestr(row.sound, content.getvalue())


def read_bank_file(path: Path) -> list[KeptSound]:
    """Read such a file; every part of it is checked.

    Raises:
        DataError: it is missing or no such file, damaged, or holds what it must not.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            facts = _Facts.model_validate_json(_member(archive, _FACTS, _MOST_JSON))
            return [_sound(archive, row) for row in facts.sounds]
    except _UNREADABLE as error:
        reason = _first_problem(error) if isinstance(error, ValidationError) else str(error)
        raise DataError(
            f"'{path}' is not a bank that `querysep bank export` wrote, or it is damaged ({' '.join(reason.split())})."
        ) from error


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{_FACTS}: {'.'.join(map(str, first['loc'])) or 'as a whole'}: {first['msg']}"[:300]


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Read a part of the archive, whatever size it claims to have."""
    with archive.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{name} is larger than any that is written")
    return content


def _sound(archive: zipfile.ZipFile, row: _Row) -> KeptSound:
    most = math.ceil((KEPT_S + 1) * row.sample_rate)
    content = io.BytesIO(_member(archive, row.sound, 4 * most + (1 << 16)))
    with soundfile.SoundFile(content) as file:
        if (file.format, file.subtype, file.channels) != ("FLAC", "PCM_16", 1) or file.samplerate != row.sample_rate:
            raise ValueError(f"{row.sound} is not mono 16-bit FLAC at {row.sample_rate} Hz")
        samples = file.read(most + 1, dtype="int16")
    if not 0 < len(samples) <= most:
        raise ValueError(f"{row.sound} is empty or longer than {KEPT_S:.0f} s")
    return KeptSound(row.name, row.source, row.added, row.sample_rate, row.scale, samples)
