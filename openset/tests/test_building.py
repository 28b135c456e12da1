import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_up import make_deb, needs_dpkg, tone

from openset.building import build_open_set
from openset.clips import SAMPLE_RATE
from openset.recordings import Recording
from querysep.data.manifest import read_manifest, write_manifest
from querysep.errors import DataError


def wav(samples: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


@needs_dpkg
def test_a_set_is_built_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    sounds = {f"usr/share/game/rain{index}.wav": wav(tone(1.0, 22_050, edge=0.5), 22_050) for index in range(4)}
    sounds |= {f"usr/share/game/{name}.wav": wav(tone(31.0, 8_000), 8_000) for name in ("dog", "wolf")}
    sounds["usr/share/game/fox.wav"] = wav(tone(29.0, 8_000, edge=1.0), 8_000)
    sounds |= {
        "usr/share/game/door.wav": wav(tone(0.3, 8_000), 8_000),
        "usr/share/game/mute.wav": wav(np.zeros(800), 8_000),
    }
    make_deb(tmp_path, "game", sounds)

    def label(path: str) -> str:
        return {"rain": "Rain", "door": "Door"}.get(Path(path).stem.rstrip("0123"), "Canidae, dogs, wolves")

    rows = [Recording("game", path, label(path), 1.0, "GPL-2+") for path in sounds]
    built = build_open_set(tmp_path / "set", cache=tmp_path, recordings=rows)
    assert built.split_by_file == ("Rain",)
    assert built.skipped == ("game:usr/share/game/mute.wav",)
    clips = read_manifest(built.manifest)
    assert tuple(clips) == built.clips
    assert [clip.labels[0] for clip in clips].count(
        "Canidae, dogs, wolves"
    ) == 5  # the fox is short without its silence
    assert {clip.split for clip in clips if clip.held_out} == {"test"}
    assert {clip.labels[0] for clip in clips if clip.held_out} == {"Door"}
    for clip in clips:
        info = soundfile.info(tmp_path / "set" / clip.path)
        assert (info.samplerate, info.channels) == (SAMPLE_RATE, 1)
        assert info.duration == pytest.approx(clip.duration_s)
        assert clip.labels[0] != "Rain" or info.duration == pytest.approx(1.0, abs=0.06)
        assert clip.path in (tmp_path / "set" / "ATTRIBUTION.md").read_text()
    audio = sorted((tmp_path / "set" / "audio").rglob("*.flac"))
    before = [path.stat().st_mtime_ns for path in audio]
    assert build_open_set(tmp_path / "set", cache=tmp_path, recordings=rows) == built
    assert [path.stat().st_mtime_ns for path in audio] == before


@needs_dpkg
def test_rendered_clips_outlive_a_build(tmp_path: Path) -> None:
    make_deb(tmp_path, "game", {"usr/share/game/rain.wav": wav(tone(1.0, 8_000), 8_000)})
    rows = [Recording("game", f"usr/share/game/{name}.wav", "Rain", 1.0, "GPL-2+") for name in ("rain", "gone")]
    (clip,) = build_open_set(tmp_path / "set", cache=tmp_path, recordings=rows).clips
    rendered = clip.model_copy(update={"source": "rendered:fluid-soundfont-gm"})
    write_manifest([rendered, clip], tmp_path / "set" / "manifest.jsonl")
    built = build_open_set(tmp_path / "set", cache=tmp_path, recordings=rows)
    assert built.clips == (clip,)
    assert built.skipped == ("game:usr/share/game/gone.wav",)
    assert read_manifest(built.manifest) == [clip, rendered]
    with pytest.raises(DataError, match="No recording"):
        build_open_set(tmp_path / "set", cache=tmp_path, recordings=rows, packages=["other"])
