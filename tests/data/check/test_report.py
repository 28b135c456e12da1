"""The check of a data set finds what was spoilt on purpose, and leaves the rest alone."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from querysep.data.check.labels import loudest
from querysep.data.check.report import KINDS, CheckReport, CheckSettings, check_lists, check_recordings, levels
from querysep.data.formats.data_set import open_recordings
from querysep.data.manifest import Clip

RATE = 32_000


def melody(seed: int, seconds: float = 2.0) -> NDArray[np.float64]:
    """Notes of some pitches with noise: every seed sounds different."""
    random = np.random.default_rng(seed)
    notes = random.uniform(200, 3_000, 12).repeat(round(seconds * RATE / 12))
    return 0.2 * np.sin(2 * np.pi * np.cumsum(notes) / RATE) + 0.02 * random.standard_normal(notes.size)


def write(root: Path, name: str, samples: NDArray[np.float64]) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE)


def found(report: CheckReport, kind: str) -> list[str]:
    return [one.path for one in report.findings if one.kind == kind]


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for number in range(8):
        write(root, f"train/dog/{number}.wav", melody(number))
        write(root, f"test/dog/{number}.wav", melody(100 + number))
    write(root, "train/dog/silent.wav", np.zeros(RATE))
    write(root, "train/dog/short.wav", melody(30, 0.1))
    write(root, "train/dog/loud.wav", np.clip(8 * melody(31), -1, 1))
    write(root, "train/dog/again.ogg", 0.3 * melody(3)[1_000:])
    write(root, "test/dog/leaked.flac", 0.5 * melody(5))
    write(root, "train/cat/only.wav", melody(40))
    write(root, "test/bird/a.wav", melody(41))
    write(root, "test/bird/b.wav", melody(42))
    (root / "train/dog/damaged.wav").write_bytes((root / "train/dog/0.wav").read_bytes()[:30_000])
    (root / "train/dog/diary.mp3").write_text("today nothing happened\n" * 50)
    return root


def test_everything_spoilt_is_found_and_nothing_else(spoilt: Path) -> None:
    report = check_recordings(open_recordings(spoilt, RATE))
    assert found(report, "silent") == ["train/dog/silent.wav"]
    assert found(report, "too short") == ["train/dog/short.wav"]
    assert found(report, "clipped") == ["train/dog/loud.wav"]
    assert found(report, "unreadable") == ["train/dog/damaged.wav", "train/dog/diary.mp3"]
    assert found(report, "duplicate") == ["train/dog/again.ogg"]
    assert sorted(found(report, "leak")) == ["test/dog/leaked.flac", "train/dog/5.wav"]
    assert found(report, "one-clip class") == ["cat"]
    assert found(report, "no training clips") == ["bird"]
    assert len(found(report, "no licence")) == len(open_recordings(spoilt, RATE).clips)
    kinds = {"silent", "too short", "clipped", "unreadable", "duplicate", "leak", "one-clip class"}
    assert {one.kind for one in report.findings} == kinds | {"no training clips", "no licence"}
    assert report.hurts
    assert [one.kind for one in report.findings] == sorted((one.kind for one in report.findings), key=list(KINDS).index)


def test_a_leak_says_where_and_under_which_labels(tmp_path: Path) -> None:
    write(tmp_path, "train/dog/a.wav", melody(0))
    write(tmp_path, "test/cat/b.wav", melody(0))
    leaks = [one for one in check_recordings(open_recordings(tmp_path, RATE)).findings if one.kind == "leak"]
    assert all("cat, dog" in one.detail and "test and train" in one.detail for one in leaks)
    assert len(leaks) == 2


def test_settings_move_the_bounds(spoilt: Path) -> None:
    settings = CheckSettings(silent_db=-200, shortest_s=0.0, clamped_share=1.0)
    report = check_recordings(open_recordings(spoilt, RATE), settings)
    assert found(report, "too short") == found(report, "clipped") == []
    assert len(found(check_recordings(open_recordings(spoilt, RATE), CheckSettings(few_clips=50)), "few clips")) == 1


def test_progress_reaches_the_end(spoilt: Path) -> None:
    steps: list[tuple[float, float | None]] = []
    check_recordings(open_recordings(spoilt, RATE), progress=lambda done, total, what: steps.append((done, total)))
    assert steps[-1][0] == steps[-1][1]
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)


def clip(path: str, label: str, split: str, origin: str, **more: object) -> Clip:
    fields = {"path": path, "labels": (label,), "duration_s": 1.0, "licence": "CC0", "source": "s"}
    return Clip.model_validate(fields | {"split": split, "origin": origin} | more)


def test_lists_alone_show_thin_classes_and_split_origins() -> None:
    clips = [clip(f"r{n}", "Rain", "train", "storm") for n in range(9)]
    clips += [clip("r", "Rain", "test", "storm", licence=" ")]
    clips += [clip("w1", "Wind", "train", "w1"), clip("w2", "Wind", "train", "w2")]
    clips += [clip("o1", "Owl", "train", "o1"), clip("o2", "Owl", "test", "o2"), clip("o3", "Owl", "test", "o2")]
    clips += [clip("h1", "Harp", "test", "h1", held_out=True), clip("h2", "Harp", "test", "h2", held_out=True)]
    assert {(one.path, one.kind) for one in check_lists(clips)} == {
        ("Rain", "one origin"),
        ("storm", "origin in two splits"),
        ("r", "no licence"),
        ("Wind", "few clips"),
        ("Owl", "few clips"),
        ("Owl", "one origin"),
        ("Wind", "not tested"),
    }


def test_flat_tops_are_clipping_and_a_low_tone_is_not() -> None:
    time_s = np.arange(RATE) / RATE
    tone = np.sin(2 * np.pi * 40 * time_s)
    assert levels((32_000 * tone).astype(np.int16), RATE).flat_tops == 0
    clamped = levels(np.clip(40_000 * tone, -32_768, 32_767).astype(np.int16), RATE)
    assert clamped.flat_tops == 80
    assert 0.3 < clamped.clamped < 0.45
    quiet = levels((100 * np.sign(tone)).astype(np.int16), RATE)
    assert quiet.flat_tops == 0
    assert quiet.peak_db == pytest.approx(-50.3, abs=0.1)


def test_a_short_burst_is_not_silence() -> None:
    samples = np.zeros(10 * RATE, np.int16)
    samples[1_000:3_000] = 1_000
    assert levels(samples, RATE).loudest_db > -35
    assert np.count_nonzero(loudest(samples, RATE)) == 2_000
    assert loudest(samples, RATE).size == 5 * RATE


def test_wrong_labels_are_found_through_the_embedding(tmp_path: Path) -> None:
    for number in range(6):
        write(tmp_path, f"low/{number}.wav", melody(number, 0.5))
        write(tmp_path, f"noise/{number}.wav", 0.1 * np.random.default_rng(number).standard_normal(RATE))
    write(tmp_path, "low/wrong.wav", 0.1 * np.random.default_rng(50).standard_normal(RATE))

    def spectrum(samples: NDArray[np.int16]) -> NDArray[np.float32]:
        power = np.abs(np.fft.rfft(samples.astype(np.float32)))
        return np.log([part.mean() + 1 for part in np.array_split(power, 12)]).astype(np.float32)

    report = check_recordings(open_recordings(tmp_path, RATE), embed=spectrum)
    assert found(report, "mislabelled-looking") == ["low/wrong.wav"]
    assert found(check_recordings(open_recordings(tmp_path, RATE)), "mislabelled-looking") == []
