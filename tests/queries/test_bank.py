"""The user's bank: what is kept is found again, by name and by sound, whatever the model and whoever writes beside."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from recordings import tone

from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.errors import ConfigError, DataError, QueryError
from querysep.io.bank_file import KeptSound
from querysep.queries.bank import Bank
from querysep.queries.bank_tables import BankTables, bank_place
from querysep.queries.examples import Ear
from querysep.queries.query import Query
from querysep.queries.resolve import resolve

RATE = 32_000


def ear(seed: int = 0, embed_dim: int = 8) -> Ear:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = HtsatConfig(
            n_mels=16, image_size=64, embed_dim=embed_dim, depths=(1, 1), heads=(1, 2), window_size=4, classes=4
        )
        return Ear(Htsat(config).eval(), torch.device("cpu"))


def sound(path: Path, frequency_hz: float, seconds: float = 1.0, rate: int = RATE, gain: float = 0.3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(seconds, rate, 1, frequency_hz, gain), rate, subtype="FLOAT")
    return path


@pytest.fixture
def bank(tmp_path: Path) -> Bank:
    return Bank(tmp_path / "bank")


def asked(bank: Bank, name: str, by: Ear) -> torch.Tensor:
    (condition,) = resolve([Query.bank(name)], by, own_bank=bank.place)
    return condition.vectors[0]


def test_a_kept_sound_asks_as_its_file_does(bank: Bank, tmp_path: Path) -> None:
    loud = sound(tmp_path / "loud.wav", 300, seconds=3.0, gain=1.7)  # over full scale: the level must outlive 16 bits
    faint = sound(tmp_path / "faint.wav", 900, rate=96_000, gain=0.004)
    hears = ear()
    added = bank.add("Two Sounds", [loud, faint], hears)
    assert (added.name, added.sounds, added.there) == ("Two Sounds", 2, 0)
    (by_file,) = resolve([Query.audio(loud, faint)], hears)
    (by_name,) = resolve([Query.bank("two sounds")], hears, own_bank=bank.place)
    torch.testing.assert_close(by_name.vectors, by_file.vectors, atol=2e-3, rtol=0)
    torch.testing.assert_close(by_name.profiles, by_file.profiles, atol=2e-3, rtol=0)
    assert {example.name for example in by_name.examples} == {"Two Sounds: loud.wav", "Two Sounds: faint.wav"}
    assert by_name.seconds_used == pytest.approx(4.0)


def test_adding_again_adds_only_what_is_new(bank: Bank, tmp_path: Path) -> None:
    first = sound(tmp_path / "sounds" / "a.wav", 300)
    bank.add("bell", [first], ear())
    sound(tmp_path / "sounds" / "b.wav", 500)
    again = bank.add("BELL", [tmp_path / "sounds"], ear())
    assert (again.name, again.sounds, again.there) == ("bell", 1, 1)
    (entry,) = bank.entries()
    assert [one.source for one in entry.sounds] == ["a.wav", "b.wav"]
    assert entry.seconds == pytest.approx(2.0)


def test_search_finds_what_sounds_alike_and_tells_nothing_of_what_was_removed(bank: Bank, tmp_path: Path) -> None:
    hears = ear()
    files = {name: sound(tmp_path / f"{name}.wav", hz) for name, hz in [("low", 150), ("mid", 900), ("high", 5_000)]}
    for name, file in files.items():
        bank.add(name, [file], hears)
    (wanted,) = resolve([Query.audio(files["mid"])], hears)
    hits = bank.search(wanted.vectors[0], hears)
    assert hits[0].name == "mid" and len(hits) == 3
    assert hits[0].cosine == pytest.approx(1.0, abs=1e-3) and hits[0].source == "mid.wav"
    by_hand = {
        name: float(torch.cosine_similarity(wanted.vectors[0], asked(bank, name, hears), dim=0)) for name in files
    }
    assert {hit.name: pytest.approx(hit.cosine, abs=1e-4) for hit in hits} == by_hand
    assert len(bank.search(wanted.vectors[0], hears, count=2)) == 2
    bank.remove(["MID"])
    assert {hit.name for hit in bank.search(wanted.vectors[0], hears)} == {"low", "high"}


def test_one_entry_of_many_sounds_does_not_crowd_out_the_others(bank: Bank, tmp_path: Path) -> None:
    hears = ear()
    many = [sound(tmp_path / "many" / f"{number}.wav", 300 + number, seconds=0.2) for number in range(25)]
    bank.add("many", many, hears)
    bank.add("other", [sound(tmp_path / "other.wav", 7_000)], hears)
    (wanted,) = resolve([Query.audio(many[0])], hears)
    assert [hit.name for hit in bank.search(wanted.vectors[0], hears, count=2)] == ["many", "other"]


def test_another_model_hears_the_kept_sounds_anew(bank: Bank, tmp_path: Path) -> None:
    file = sound(tmp_path / "a.wav", 300)
    bank.add("one", [file], ear(seed=0))
    for other in (ear(seed=1), ear(seed=1, embed_dim=12)):  # other weights; even another dimension
        (fresh,) = resolve([Query.audio(file)], other)
        torch.testing.assert_close(asked(bank, "one", other), fresh.vectors[0], atol=2e-3, rtol=0)
        assert bank.search(fresh.vectors[0], other)[0].cosine == pytest.approx(1.0, abs=1e-3)
    assert not torch.allclose(asked(bank, "one", ear(seed=0)), asked(bank, "one", ear(seed=1)), atol=2e-3)


def test_embeddings_are_kept_not_made_again(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hears = ear()
    bank.add("one", [sound(tmp_path / "a.wav", 300)], hears)

    def never(*_: Any) -> None:
        raise AssertionError("the sound was embedded again")

    monkeypatch.setattr("querysep.queries.bank.hear_sound", never)
    bank.search(asked(bank, "one", hears), hears)


def test_misses_offer_what_comes_close(bank: Bank, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="no sound in the bank"):
        bank.find("dog")
    bank.add("my-dog", [sound(tmp_path / "a.wav", 300)], ear())
    for call in (lambda: asked(bank, "my-dgo", ear()), lambda: bank.remove(["dog"])):
        with pytest.raises(QueryError, match="Closest: 'my-dog'"):
            call()
    with pytest.raises(QueryError, match=r"is not in the bank '.*'\. See"):
        bank.find("xyz")


def test_nothing_is_kept_if_one_of_the_sounds_cannot_be(bank: Bank, tmp_path: Path) -> None:
    good = sound(tmp_path / "good.wav", 300)
    silent = tmp_path / "silent.wav"
    soundfile.write(silent, np.zeros(RATE), RATE)
    (tmp_path / "words.wav").write_text("words")
    for files, message in [
        ([good, silent], "silent.wav' is silent"),
        ([good, tmp_path / "words.wav"], "cannot be kept"),
        ([good, tmp_path / "none.wav"], "no file or folder"),
    ]:
        with pytest.raises(QueryError, match=message):
            bank.add("a", files, ear())
    for name in ("", " ", "a/b", "../a", "it's", "-a", "a:b", "x" * 65, "a\nb"):
        with pytest.raises(QueryError, match="cannot be a name"):
            bank.add(name, [good], ear())
    assert bank.entries() == []


def test_a_long_recording_is_kept_in_part_and_told(bank: Bank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("querysep.queries.bank.KEPT_S", 2.0)
    monkeypatch.setattr("querysep.io.bank_file.KEPT_S", 2.0)
    added = bank.add("a", [sound(tmp_path / "a.wav", 300, seconds=3.0)], ear())
    assert "longer than 2 s" in added.warnings[0]
    assert bank.entries()[0].seconds == pytest.approx(2.0)


def test_removed_sound_leaves_the_disk(bank: Bank, tmp_path: Path) -> None:
    hears = ear()
    bank.add("big", [sound(tmp_path / "big.wav", 300, seconds=20.0)], hears)
    bank.add("small", [sound(tmp_path / "small.wav", 900, seconds=0.1)], hears)

    def size() -> int:
        return sum(file.stat().st_size for file in Path(bank.place).iterdir())

    assert size() > 1_000_000
    bank.remove(["big"])
    assert size() < 100_000
    assert [entry.name for entry in bank.entries()] == ["small"]


def test_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUERYSEP_BANK", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert "querysep" in bank_place() and bank_place().endswith("bank")
    monkeypatch.setenv("QUERYSEP_BANK", f"{tmp_path}/")
    assert bank_place() == str(tmp_path)
    assert bank_place(tmp_path / "other") == str(tmp_path / "other")
    with pytest.raises(ConfigError, match="folder of this machine, not 's3://bucket/mine'"):
        Bank("s3://bucket/mine")
    monkeypatch.delenv("QUERYSEP_BANK")
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    with pytest.raises(ConfigError, match=r"querysep\[data\]"):
        Bank()


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    sound = KeptSound("dog", "a.wav", "2026-01-01T00:00:00Z", RATE, 0.5, np.arange(9, dtype=np.int16))
    file = tmp_path / "bank.sqlite"
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("CREATE TABLE sounds (name TEXT)")
    for call in (BankTables(str(tmp_path)).facts, lambda: BankTables(str(tmp_path)).append([sound])):
        with pytest.raises(DataError, match="does not hold a bank"):
            call()
    file.write_bytes(b"SQLite format" * 100)
    with pytest.raises(DataError, match="cannot be read"):
        BankTables(str(tmp_path)).facts()
    file.unlink()
    (tmp_path / "sounds.lance").mkdir()
    with pytest.raises(DataError, match="older querysep"):
        BankTables(str(tmp_path)).append([sound])
    assert not file.exists()


def test_a_bank_that_another_process_makes_at_this_moment_is_empty(tmp_path: Path) -> None:
    (tmp_path / "bank.sqlite").touch()
    sound = KeptSound("dog", "a.wav", "2026-01-01T00:00:00Z", RATE, 0.5, np.arange(9, dtype=np.int16))
    tables = BankTables(str(tmp_path))
    assert tables.facts() == [] and list(tables.sounds(["dog"])) == []
    tables.append([sound])
    tables.append([sound])  # as two processes may do at the same moment
    ((kept,), (fact,)) = tables.sounds(["dog"]), tables.facts()
    assert kept.key == fact.key == sound.key
    np.testing.assert_array_equal(kept.samples, sound.samples)


_WRITERS = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:4]
from test_bank import ear, sound
from querysep.queries.bank import Bank
place, hears = Path(sys.argv[1]), ear()
wait, go = os.pipe()
writers = []
for me in (1, 2):
    own = [sound(place.parent / str(me) / f"{number}.wav", 200 + 50 * number + 7 * me, 0.05) for number in range(8)]
    both = sound(place.parent / str(me) / "both.wav", 440, 0.05)
    writers.append(os.fork())
    if writers[-1] == 0:
        os.read(wait, 1)
        bank = Bank(place)
        for number, file in enumerate(own):
            bank.add(f"{me}-{number}", [file], hears)
            bank.add("shared", [both, file], hears)
            if number % 2:
                bank.remove([f"{me}-{number - 1}"])
        os._exit(0)
os.write(go, b"12")  # both at the same moment; there is no bank yet
codes = [os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1]) for writer in writers]
sys.exit(max(codes))
"""


def test_a_new_bank_that_two_processes_begin_at_once(tmp_path: Path) -> None:
    script = """
import os, sys
from querysep.queries.bank_tables import BankTables
from querysep.io.bank_file import KeptSound
import numpy as np
for number in range(12):
    wait, go = os.pipe()
    writers = []
    for me in range(3):
        writers.append(os.fork())
        if writers[-1] == 0:
            os.read(wait, 1)
            sound = KeptSound(f"{me}", "a.wav", "2026-01-01T00:00:00Z", 8000, 1.0, np.full(9, me, np.int16))
            BankTables(f"{sys.argv[1]}/{number}").append([sound])
            os._exit(0)
    os.write(go, b"123")
    if any([os.waitpid(writer, 0)[1] for writer in writers]):
        sys.exit(1)
"""
    arguments = [sys.executable, "-c", script, str(tmp_path)]
    assert subprocess.run(arguments, check=False).returncode == 0
    for number in range(12):
        assert {fact.name for fact in BankTables(str(tmp_path / str(number))).facts()} == {"0", "1", "2"}


def test_two_processes_write_at_once_and_lose_nothing(tmp_path: Path) -> None:
    here = Path(__file__).parent
    arguments = [sys.executable, "-c", _WRITERS, str(tmp_path / "bank"), str(here), str(here.parent)]
    assert subprocess.run(arguments, check=False).returncode == 0
    bank = Bank(tmp_path / "bank")
    entries = {entry.name: entry for entry in bank.entries()}
    assert set(entries) == {"shared", *(f"{me}-{number}" for me in "12" for number in (1, 3, 5, 7))}
    assert len(entries["shared"].sounds) == 17  # eight of each, and the one that both added, once
    assert len(bank.examples("shared", ear())) == 17
    assert np.isfinite(asked(bank, "shared", ear()).numpy()).all()


def test_what_cannot_be_used_in_a_folder_is_left_out_and_told(bank: Bank, tmp_path: Path) -> None:
    sound(tmp_path / "sounds" / "good.wav", 300)
    (tmp_path / "sounds" / "bad.wav").write_text("words")
    soundfile.write(tmp_path / "sounds" / "silent.wav", np.zeros(RATE), RATE)
    added = bank.add("bell", [tmp_path / "sounds"], ear())
    assert (added.sounds, added.there, len(added.warnings)) == (1, 0, 2)
    assert "bad.wav" in added.warnings[0] and "silent.wav' is silent" in added.warnings[1]
    (tmp_path / "sounds" / "good.wav").unlink()
    with pytest.raises(QueryError, match="None of the 2 sounds for 'none'"):
        bank.add("none", [tmp_path / "sounds"], ear())
