"""A bank's file: what goes in comes out, and a stranger's file can do no harm."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from querysep.errors import DataError, OutputError
from querysep.io.bank_file import KeptSound, read_bank_file, write_bank_file
from querysep.types import Audio

WHEN = "2026-01-01T00:00:00Z"


def kept(name: str = "dog", rate: int = 8_000, seconds: float = 0.5, gain: float = 0.2) -> KeptSound:
    samples = np.random.default_rng(1).standard_normal((2, round(seconds * rate))).astype(np.float32) * gain
    return KeptSound.of(Audio(samples, rate), name, "a\x1b[2Jb.wav", WHEN)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    path = tmp_path / "bank.zip"
    write_bank_file(path, [kept("dog"), kept("Größe 2", rate=96_000, gain=3.0)])
    return path


def test_what_goes_in_comes_out(exported: Path) -> None:
    dog, loud = read_bank_file(exported)
    for sound, original in ((dog, kept("dog")), (loud, kept("Größe 2", rate=96_000, gain=3.0))):
        assert (sound.name, sound.source, sound.added, sound.key) == (
            original.name,
            "a?[2Jb.wav",  # nothing that a terminal would obey
            WHEN,
            original.key,
        )
        np.testing.assert_array_equal(sound.audio.samples, original.audio.samples)
    assert loud.sample_rate == 48_000 and np.abs(loud.audio.samples).max() > 3
    with pytest.raises(OutputError, match="exists already"):
        write_bank_file(exported, [])


def test_the_level_is_kept_to_sixteen_bits() -> None:
    samples = np.linspace(-0.01, 0.01, 1_000, dtype=np.float32)[None]
    again = KeptSound.of(Audio(samples, 8_000), "a", "a.wav", WHEN).audio
    np.testing.assert_allclose(again.samples, samples, atol=0.01 / 32_767)


def test_only_the_beginning_is_kept() -> None:
    assert kept(seconds=70).audio.duration_s == 60.0


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None]) -> Path:
    """Change what the archive holds: the facts, and its other members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    facts = json.loads(members["bank.json"])
    change(facts, members)
    members["bank.json"] = json.dumps(facts).encode()
    changed = path.with_name("changed.zip")
    with zipfile.ZipFile(changed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return changed


def flac(samples: np.ndarray[Any, Any], rate: int = 8_000, **kind: str) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, samples, rate, **({"format": "FLAC", "subtype": "PCM_16"} | kind))
    return content.getvalue()


def row(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    return lambda facts, members: facts["sounds"][0].update({key: value})


def member(content: bytes) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    return lambda facts, members: members.update({"sounds/000000.flac": content})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (row("sound", "../../etc/passwd"), "sound"),
        (row("sound", "/etc/passwd"), "sound"),
        (row("sound", "sounds/000009.flac"), "000009"),
        (row("name", "../dog"), "name"),
        (row("name", "dog\n"), "name"),
        (row("name", "o'dog"), "name"),
        (row("source", "a\x1b[2J"), "source"),
        (row("added", "yesterday"), "added"),
        (row("scale", 0), "scale"),
        (row("scale", "inf"), "scale"),
        (row("sample_rate", 16_000), "16000 Hz"),
        (row("surplus", 1), "surplus"),
        (lambda facts, members: facts.update(format_version=2), "format_version"),
        (member(b"no sound"), "damaged"),
        (member(flac(np.zeros((9, 2), np.int16))), "mono"),
        (member(flac(np.zeros(9, np.int16), format="WAV")), "FLAC"),
        (member(flac(np.zeros(62 * 8_000, np.int16))), "longer than 60 s"),
        (member(b"\0" * 50_000_000), "larger than any"),  # 50 kB in the archive
    ],
)
def test_a_strangers_file(
    exported: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_bank_file(rewritten(exported, change))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_what_is_no_bank_or_cut_short(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "words.zip").write_text("words")
    (tmp_path / "cut.zip").write_bytes(exported.read_bytes()[:-100])
    spoilt = bytearray(exported.read_bytes())
    spoilt[60:90] = b"\0" * 30
    (tmp_path / "spoilt.zip").write_bytes(spoilt)
    for name in ("words.zip", "cut.zip", "spoilt.zip", "none.zip", "."):
        with pytest.raises(DataError, match="querysep bank export"):
            read_bank_file(tmp_path / name)
