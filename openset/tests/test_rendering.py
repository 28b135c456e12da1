from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from openset.clips import SAMPLE_RATE, Samples
from openset.instruments import SOURCES, read_instruments
from openset.recordings import HELD_OUT
from openset.rendering import PHRASES, phrases_to_play, render_instruments
from querysep.data.manifest import is_rendered, read_manifest, write_manifest
from querysep.errors import DataError


def test_families_and_voices_take_turns() -> None:
    tasks = phrases_to_play(read_instruments())
    counts = Counter((one.label, one.split) for one, _ in tasks)
    assert set(counts.values()) == {PHRASES["train"], PHRASES["test"]}
    assert len({label for label, _ in counts}) == 47
    played = Counter(one for one, _ in tasks)
    guitars = [one for one in played if one.label == "Acoustic guitar" and one.split == "train"]
    assert set(guitars) == {
        one for one in read_instruments() if one.label == "Acoustic guitar" and one.split == "train"
    }
    by_family = Counter(
        {
            family: sum(played[one] for one in guitars if one.family == family)
            for family in {one.family for one in guitars}
        }
    )
    assert len(by_family) == 2
    assert max(by_family.values()) - min(by_family.values()) <= 1
    assert len({(one, number) for one, number in tasks}) == len(tasks)


def test_phrases_are_appended_to_a_set_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openset.rendering.PHRASES", {"train": 2, "test": 1})
    played = []

    def render(midi: bytes, soundfont: Path) -> Samples:
        played.append(midi)
        seed = np.frombuffer(midi[-64:], dtype=np.uint8)
        return np.random.default_rng(seed).normal(size=SAMPLE_RATE // 4).astype(np.float32)

    clips = render_instruments(tmp_path, cache=tmp_path, render=render)
    assert len(set(played)) == len(played) == len(clips)
    other = clips[0].model_copy(update={"path": "rain.flac", "source": "wesnoth-1.16-data"})
    stem = clips[0].model_copy(update={"path": "music/train/a/1-piano.flac"})
    old = clips[0].model_copy(update={"path": "audio/train/piano/fluid-old.flac"})
    (tmp_path / old.path).write_bytes(b"")
    write_manifest([other, old, *clips, stem], tmp_path / "manifest.jsonl")
    assert render_instruments(tmp_path, cache=tmp_path, render=render) == clips
    assert len(played) == len(clips)
    assert read_manifest(tmp_path / "manifest.jsonl") == [other, stem, *clips]
    assert not (tmp_path / old.path).exists()
    for clip in clips:
        assert is_rendered(clip)
        assert clip.held_out == (clip.labels[0] in HELD_OUT)
        assert clip.split == "test" or not clip.held_out
    assert {clip.licence for clip in clips} == {source.licence for source in SOURCES.values()}
    assert all(source.package in (tmp_path / "ATTRIBUTION_rendered.md").read_text() for source in SOURCES.values())
    peaks = [np.abs(soundfile.read(tmp_path / clip.path)[0]).max() for clip in clips[:40]]
    assert 0.2 < min(peaks) < max(peaks) < 0.95


def test_a_silent_voice_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="plays nothing for 'Piano', 'fluid-piano-p200-0-0'"):
        render_instruments(tmp_path, cache=tmp_path, render=lambda midi, font: np.zeros(9_000, dtype=np.float32))
