"""The fourth edition: the bundled list, and clips taken from a folder or with git."""

import csv
import shutil
import subprocess
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_up import tone

from openset.building import leave_gpl2_out
from openset.clips import SAMPLE_RATE
from openset.recordings import HELD_OUT, RESERVED, labels_of
from openset.repositories import RepositoryClip, add_repositories, fetch_repository, read_repository_clips
from querysep.data.manifest import Clip, read_manifest, write_manifest
from querysep.errors import DataError

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git")

BARK = RepositoryClip(
    "some/dogs", "c0ffee", "loud/bark.wav", 0.0, 1.0, "CC0", "by a stranger", "dogs:1", "Bark", "train", 4
)
RAIN = replace(BARK, source_path="rain.wav", start_s=0.5, label="Rain", split="test", origin="dogs:2")


def test_the_bundled_list_keeps_to_the_rules() -> None:
    clips = read_repository_clips()
    assert len({clip.key for clip in clips}) == len(clips)
    sides = defaultdict(set)
    for clip in clips:
        labels = set(labels_of(clip.label))
        assert not labels & RESERVED
        assert clip.split == "test" or not labels & HELD_OUT
        assert clip.license and clip.commit and clip.seconds > 0 and clip.edition == 4
        sides[clip.origin].add(clip.split)
    assert {len(some) for some in sides.values()} == {1}
    esc_10 = [clip for clip in clips if clip.repository == "karoldvl/ESC-10" and clip.label not in HELD_OUT]
    for clip in esc_10:
        assert (clip.split == "test") == Path(clip.source_path).name.startswith("5-")
    assert {clip.split for clip in esc_10} == {"train", "validation", "test"}


def test_everyday_classes_can_be_trained_on_and_tested() -> None:
    sides = defaultdict(set)
    for clip in read_repository_clips():
        for label in labels_of(clip.label):
            sides[label].add(clip.split)
    for label in ("Cat", "Dog", "Computer keyboard", "Siren", "Sneeze", "Doorbell", "Baby cry, infant cry", "Frog"):
        assert sides[label] >= {"train", "test"}


def _folder(folder: Path) -> Path:
    """Write clips as they are handed on: cut already, each with a line that says where it is from."""
    sounds = {
        "Bark/a.wav": (BARK, tone(0.5, SAMPLE_RATE, edge=0.25)),
        "Rain/b.wav": (RAIN, tone(0.5, SAMPLE_RATE, edge=0.25)),
        "Rain/mute.wav": (replace(RAIN, source_path="mute.wav"), np.zeros(8_000)),
    }
    lines = []
    for path, (clip, samples) in sounds.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, samples, SAMPLE_RATE)
        lines.append(
            {"path": path, "repository": clip.repository, "source_path": clip.source_path, "start_s": clip.start_s}
        )
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return folder


def test_clips_of_a_folder_join_a_set(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    manifest = tmp_path / "set" / "manifest.jsonl"
    old = Clip(path="a.flac", labels=("Rain",), duration_s=1, licence="CC0", source="game", origin="a", split="train")
    write_manifest([old, old.model_copy(update={"path": "b.flac", "source": "repository:gone/before"})], manifest)
    listed = [BARK, RAIN, replace(RAIN, source_path="mute.wav"), replace(RAIN, source_path="not there.wav")]
    folder = _folder(tmp_path / "folder")
    added = add_repositories(tmp_path / "set", cache=tmp_path, folder=folder, clips=listed)
    assert read_manifest(manifest) == [old, *added.clips]
    assert added.skipped == ("some/dogs:mute.wav@0.5", "some/dogs:not there.wav@0.5") and not added.left_out
    bark, rain = added.clips
    assert bark.labels == ("Bark", "Dog", "Domestic animals, pets", "Animal")
    assert (bark.source, bark.origin, bark.split, bark.held_out) == ("repository:some/dogs", "dogs:1", "train", False)
    assert bark.path.startswith("audio/train/bark/")
    assert bark.duration_s == pytest.approx(0.54, abs=0.03)  # silent edges are cut
    assert rain.duration_s == 1.0  # what is tested on is as it was recorded
    assert rain.path in (tmp_path / "set" / "ATTRIBUTION_repositories.md").read_text()
    assert "by a stranger" in (tmp_path / "set" / "ATTRIBUTION_repositories.md").read_text()
    before = (tmp_path / "set" / bark.path).stat().st_mtime_ns
    assert add_repositories(tmp_path / "set", cache=tmp_path, folder=folder, clips=listed) == added
    assert (tmp_path / "set" / bark.path).stat().st_mtime_ns == before
    assert add_repositories(tmp_path / "set", cache=tmp_path, folder=folder, clips=listed[:1]).clips == (bark,)
    assert not (tmp_path / "set" / rain.path).exists()


def test_kinds_of_held_out_classes_are_held_out(tmp_path: Path) -> None:
    slam = replace(BARK, label="Slam", split="test")
    (clip,) = add_repositories(tmp_path, cache=tmp_path, folder=_folder(tmp_path / "folder"), clips=[slam]).clips
    assert clip.held_out and clip.labels == ("Slam", "Door")


def _commit(folder: Path, seconds: float) -> str:
    (folder / "loud").mkdir(exist_ok=True)
    soundfile.write(folder / "loud" / "bark.wav", tone(seconds, 8_000), 8_000)
    soundfile.write(folder / "rain.wav", tone(seconds, 8_000), 8_000)
    git = [
        "git",
        "-C",
        str(folder),
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@example.org",
        "-c",
        "commit.gpgsign=false",
    ]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "Add sounds"], check=True)
    named = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True)
    return named.stdout.strip()


@needs_git
def test_git_fetches_the_named_commit(tmp_path: Path) -> None:
    published = tmp_path / "host" / "some" / "dogs.git"
    published.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(published)], check=True)
    first = _commit(published, 2.0)
    _commit(published, 0.3)
    host = f"file://{tmp_path / 'host'}/"
    listed = [replace(one, commit=first) for one in (BARK, RAIN, replace(RAIN, source_path="gone.wav"))]
    added = add_repositories(tmp_path / "set", cache=tmp_path / "cache", clips=listed, host=host)
    assert [clip.duration_s for clip in added.clips] == [1.0, 1.0]  # of 2 s, from 0 and from 0.5 s
    assert added.skipped == ("some/dogs:gone.wav@0.5",)
    checked_out = fetch_repository("some/dogs", first, {"rain.wav"}, tmp_path / "cache", "file:///nowhere/")
    assert soundfile.info(checked_out / "rain.wav").duration == 2.0  # nothing is fetched twice
    with pytest.raises(DataError, match=r"git could not fetch 'some/cats'.*--repositories"):
        fetch_repository("some/cats", first, {"rain.wav"}, tmp_path / "cache", host)
    with pytest.raises(DataError, match="git could not fetch 'some/dogs'"):
        fetch_repository("some/dogs", "0123456789ab", {"other.wav"}, tmp_path / "cache", host)


def test_a_folder_without_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv.*must have the columns path"):
        add_repositories(tmp_path, cache=tmp_path, folder=tmp_path, clips=[BARK])
    folder = _folder(tmp_path / "folder")
    with pytest.raises(DataError, match="No clip could be taken"):
        add_repositories(tmp_path, cache=tmp_path, folder=folder, clips=[replace(BARK, source_path="x")])


def test_gpl_2_only_leaves_the_training_side_where_no_class_is_lost() -> None:
    def clip(path: str, label: str, licence: str, **facts: object) -> Clip:
        facts = {"source": "game", "origin": path, "split": "train"} | facts
        return Clip(path=path, labels=(label,), duration_s=1, licence=licence, **facts)  # type: ignore[arg-type]

    free = [clip(f"rain{number}", "Rain", "GPL-2+") for number in range(3)]
    free += [clip(f"pig{number}", "Pig", "CC0") for number in range(2)]
    free += [clip("pig2", "Pig", "CC0", source="rendered:font")]
    kept = [
        clip("tested", "Rain", "GPL-2", split="test"),
        clip("pig3", "Pig", "GPL-2"),
        clip("rain8", "Rain", "GPL-2 or later"),
    ]
    leaving = [clip("rain9", "Rain", "GPL-2"), clip("rain10", "Rain", "GPL-2 with exception (Battle-Tanks-License)")]
    leaving += [clip("rain11", "Rain", "GPL-2.0-only")]
    found = leave_gpl2_out([*free, *leaving, *kept])
    assert found.kept == (*free, *kept) and found.left_out == tuple(leaving)
