import os
import stat
from pathlib import Path

import numpy as np
import pytest
from made_up import make_deb
from soundfonts import write_soundfont

from openset.phrases import Note, Performance, Turn
from openset.synthesizer import find_fluidsynth, midi_file, play_with
from querysep.errors import DataError


def test_a_midi_file_is_what_it_should_be() -> None:
    played = Performance((Note(0.0, 0.5, 60, 100), Note(0.5, 1.0, 60, 80)))
    track = bytes.fromhex(
        "00 ff 51 03 0f 42 40"  # a second a beat
        "00 c0 28"  # violin
        "00 90 3c 64 83 74 80 3c 00"  # the first note ends ...
        "00 90 3c 50 87 68 80 3c 00"  # ... before the second begins
        "00 ff 2f 00"
    )
    header = bytes.fromhex("4d546864 00000006 0000 0001 03e8 4d54726b") + len(track).to_bytes(4, "big")
    assert midi_file(played, 40, drums=False) == header + track
    assert bytes([0xC9, 25]) in midi_file(played, 25, drums=True, bank=128)


def test_a_bank_is_chosen_before_its_program_and_controllers_before_notes() -> None:
    played = Performance((Note(0.0, 0.5, 60, 100),), (Turn(0.0, 11, 90), Turn(0.25, 11, 40)))
    track = midi_file(played, 45, drums=False, bank=20)
    assert bytes.fromhex("00 b0 00 14 00 c0 2d 00 b0 0b 5a 00 90 3c 64 81 7a b0 0b 28 81 7a 80 3c 00") in track


@pytest.mark.skipif(not Path("/usr/bin/fluidsynth").exists(), reason="fluidsynth is not installed")
def test_fluidsynth_plays_the_pitch_of_the_note(tmp_path: Path) -> None:
    time = np.arange(32_000) / 32_000
    tone = (np.sin(2 * np.pi * 440 * time) * 10_000).astype(np.int16)  # recorded at key 60, as the soundfont says
    font = write_soundfont(tmp_path / "a.sf2", {"tone": tone}, {(3, 7): [("tone", 0, 127)]})
    play = play_with(find_fluidsynth(tmp_path))
    midi = midi_file(Performance((Note(0.1, 0.3, 72, 100),)), 7, drums=False, bank=3)
    sound = play(midi, font)
    assert np.abs(sound[: int(0.09 * 32_000)]).max() < 1e-4
    loudest = np.abs(np.fft.rfft(sound[4_000:12_000])).argmax() * 32_000 / 8_000
    assert abs(loudest - 880) < 8  # an octave up
    with pytest.raises(DataError, match="fluidsynth failed"):
        play(b"no midi", tmp_path / "missing.sf2")


def test_a_missing_synthesizer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(DataError, match="apt-get install fluidsynth"):
        find_fluidsynth(tmp_path)


def test_a_fetched_synthesizer_runs_with_its_own_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages are made here: a program that tells which libraries it was started with, and a library."""
    starts = b'#!/bin/sh\ntest -f "$LD_LIBRARY_PATH/libfluidsynth.so.3"\n'
    make_deb(tmp_path / "cache", "fluidsynth", {"usr/bin/fluidsynth": starts})
    make_deb(tmp_path / "cache", "libfluidsynth3", {"usr/lib/x/libfluidsynth.so.3": b""})
    make_deb(tmp_path / "cache", "libmissing1", {"usr/lib/x/libmissing.so.1": b""})
    tools = tmp_path / "tools"
    tools.mkdir()
    _script(tools / "apt-cache", "printf 'libfluidsynth3\\n  Depends: libc6\\nlibc6\\nlibmissing1\\nlibhere2\\n'")
    _script(tools / "dpkg-query", 'test "$4" = libhere2 && printf installed')
    for name in ("dpkg-deb", "sh", "tar", "test", "printf", "rm", "xz", "zstd", "gzip"):
        for folder in ("/usr/bin", "/bin"):
            if Path(folder, name).exists() and not (tools / name).exists():
                (tools / name).symlink_to(Path(folder, name))
    monkeypatch.setenv("PATH", str(tools))
    program = find_fluidsynth(tmp_path / "cache")
    assert program.path == tmp_path / "cache/unpacked/fluidsynth/usr/bin/fluidsynth"
    assert program.libraries is not None
    assert {link.name for link in program.libraries.iterdir()} == {"libfluidsynth.so.3", "libmissing.so.1"}
    assert all(link.exists() for link in program.libraries.iterdir())
    assert find_fluidsynth(tmp_path / "cache") == program
    (program.libraries / "libfluidsynth.so.3").unlink()
    with pytest.raises(DataError, match="does not start"):
        find_fluidsynth(tmp_path / "cache")


def _script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    assert os.access(path, os.X_OK)
