"""The open set from packages made here: no network, no Debian mirror."""

import io
import shutil
import subprocess
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from querysep.data.debian import fetch_package, unpack_package
from querysep.data.decoding import SAMPLE_RATE, decode, pieces, trim, two_excerpts, write_clip
from querysep.data.manifest import read_manifest, write_manifest
from querysep.data.open_set import build_open_set
from querysep.data.open_set_sources import HELD_OUT, RESERVED, Recording, origin_of, read_recordings, select
from querysep.errors import DataError

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb")


def tone(seconds: float, rate: int, *, edge: float = 0.0, gain: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    silence = np.zeros(round(edge * rate))
    return np.concatenate([silence, gain * np.sin(2 * np.pi * 440 * time), silence])


def wav(samples: np.ndarray, rate: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def make_deb(cache: Path, package: str, files: dict[str, bytes]) -> None:
    tree = cache / "tree" / package
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: sounds\n"
    )
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    (cache / "deb").mkdir(exist_ok=True)
    deb = cache / "deb" / f"{package}_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", str(tree), str(deb)], check=True, capture_output=True)


def test_decoding_mixes_down_and_resamples(tmp_path: Path) -> None:
    left = tone(1.0, 44_100)
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), 44_100)
    samples = decode(tmp_path / "a.wav")
    assert samples.size == SAMPLE_RATE
    assert np.abs(samples - 0.5 * tone(1.0, SAMPLE_RATE))[2_000:-2_000].max() < 2e-3


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match=r"a\.wav"):
        decode(tmp_path / "a.wav")


def test_silence_is_trimmed_from_the_edges_alone() -> None:
    gap = np.zeros(SAMPLE_RATE)
    samples = np.concatenate([tone(0.5, SAMPLE_RATE, edge=0.3), gap, tone(0.5, SAMPLE_RATE, edge=0.7)])
    kept = trim(samples.astype(np.float32))
    assert kept.size / SAMPLE_RATE == pytest.approx(0.5 + 0.3 + 1 + 0.7 + 0.5, abs=0.06)
    assert trim(np.zeros(1_000, dtype=np.float32)).size == 0
    assert trim(np.zeros(0, dtype=np.float32)).size == 0


@pytest.mark.parametrize("seconds", [0.5, 30.0, 30.1, 95.0])
def test_long_recordings_are_cut_into_short_pieces(seconds: float) -> None:
    samples = np.arange(round(seconds * 100), dtype=np.float32)
    parts = pieces(samples, 30.0, sample_rate=100)
    assert max(part.size for part in parts) <= 3_000
    assert np.array_equal(np.concatenate(parts), samples)


def test_excerpts_of_music_do_not_overlap() -> None:
    for size in (500, 1_000, 1_999, 2_000, 2_001, 9_999):
        samples = np.arange(size, dtype=np.float32)
        parts = two_excerpts(samples, 10.0, sample_rate=100)
        joined = np.concatenate(parts)
        assert max(part.size for part in parts) <= 1_000
        assert len(np.unique(joined)) == joined.size
        assert len(parts) == (1 if size < 2_000 else 2)


def test_only_what_would_clip_is_scaled(tmp_path: Path) -> None:
    for gain, peak in ((0.5, 0.5), (3.0, 1.0)):
        write_clip(tone(0.2, SAMPLE_RATE, gain=gain).astype(np.float32), tmp_path / "a.flac")
        written, rate = soundfile.read(tmp_path / "a.flac")
        assert rate == SAMPLE_RATE
        assert np.abs(written - tone(0.2, SAMPLE_RATE, gain=peak)).max() < 1e-3
    assert soundfile.info(tmp_path / "a.flac").subtype == "PCM_16"


@needs_dpkg
def test_files_come_out_of_packages_and_of_archives_in_them(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("sound/rain.ogg", b"rain")
        archive.writestr("sound/wind.ogg", b"wind")
    make_deb(tmp_path, "game", {"usr/share/game/0snd.pk3": packed.getvalue(), "usr/share/game/owl.wav": b"owl"})
    names = ["usr/share/game/0snd.pk3.d/sound/rain.ogg", "usr/share/game/owl.wav", "usr/share/game/none.wav"]
    out = tmp_path / "out"
    found = unpack_package(fetch_package("game", tmp_path), names, out)
    assert {name: path.read_bytes() for name, path in found.items()} == {names[0]: b"rain", names[1]: b"owl"}
    assert {path.name for path in out.rglob("*") if path.is_file()} == {"rain.ogg", "owl.wav", "absent.json"}
    (tmp_path / "deb" / "game_1_all.deb").unlink()  # everything is known: the package is not read again
    assert unpack_package(tmp_path / "gone.deb", names, out) == found


@needs_dpkg
def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.deb").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"bad\.deb"):
        unpack_package(tmp_path / "bad.deb", ["usr/a.wav"], tmp_path / "out")
    with pytest.raises(DataError, match="no path inside"):
        unpack_package(tmp_path / "bad.deb", ["../a.wav"], tmp_path / "out")


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


def test_the_bundled_list_keeps_to_the_rules() -> None:
    recordings = read_recordings()
    labels = {one.label for one in recordings}
    assert not labels & RESERVED
    assert labels >= HELD_OUT
    assert len({one.key for one in recordings}) == len(recordings)
    assert not {"searchandrescue-data", "krank"} & {one.package for one in recordings}


def test_speech_and_music_are_capped_and_nothing_else() -> None:
    recordings = read_recordings()
    chosen = select(recordings)
    assert select(reversed(recordings)) == chosen
    seconds = defaultdict(float)
    for one in chosen:
        kind = "Speech" if "peech" in one.label else one.label
        seconds[kind, origin_of(one)] += one.seconds
    speech = [amount for (kind, _), amount in seconds.items() if kind == "Speech"]
    assert 13_000 <= sum(speech) < 13_100
    assert len(speech) > 100
    left = {origin_of(one) for one in set(recordings) - set(chosen) if "peech" in one.label}
    fewest = min(seconds["Speech", voice] for voice in left)
    assert max(speech) < fewest + max(one.seconds for one in recordings if "peech" in one.label)
    assert sum(one.label == "Music" for one in chosen) == 240
    others = [one for one in recordings if one.label != "Music" and "peech" not in one.label]
    assert [one for one in chosen if one.label != "Music" and "peech" not in one.label] == others


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (("a", "x/rain1.ogg", "Rain"), ("a", "x/rain_02b.ogg", "Rain"), True),
        (("a", "x/rain1.ogg", "Rain"), ("a", "x/wind1.ogg", "Wind"), False),
        (("a", "x/rain1.ogg", "Rain"), ("a", "y/rain1.ogg", "Rain"), False),
        (("hydrogen-drumkits", "d/Kit/a.wav", "Drum"), ("hydrogen-drumkits", "d/Kit/b.wav", "Cymbal"), True),
        (("klettres-data", "usr/share/klettres/da/alpha/a.ogg", "Speech"),
         ("klettres-data", "usr/share/klettres/da/syllab/b.ogg", "Speech"), True),
        (("tuxpaint-stamps-default", "s/owl_desc_ru.ogg", "Speech"),
         ("tuxpaint-stamps-default", "t/cow_desc_bg.ogg", "Speech"), False),
        (("a", "x/song1.ogg", "Music"), ("a", "x/song2.ogg", "Music"), False),
    ],
)  # fmt: skip
def test_what_belongs_together(first: tuple[str, str, str], second: tuple[str, str, str], together: bool) -> None:
    one, other = (Recording(package, path, label, 1.0, "") for package, path, label in (first, second))
    assert (origin_of(one) == origin_of(other)) == together
