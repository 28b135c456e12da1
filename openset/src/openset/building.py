"""The open sound set: freely licensed recordings out of Debian packages, as clips with labels."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import soundfile

from openset.clips import SAMPLE_RATE, Samples, cut_evenly, decode, slug, trim, two_excerpts, write_clip
from openset.packages import fetch_package, unpack_package
from openset.recordings import (
    EXCERPT_S,
    HELD_OUT,
    MUSIC,
    MUSIC_EXCERPT_S,
    Recording,
    labels_of,
    origin_of,
    read_recordings,
    select,
)
from querysep.data.manifest import Clip, is_from_repository, is_rendered, read_manifest, write_manifest
from querysep.data.splitting import Candidate, Side, divide
from querysep.errors import DataError
from querysep.progress import Progress, silent

SHORTEST_S = 0.1
WORKERS = 2
FEWEST_ORIGINS = 3
"""Of a class: without them it joins another."""
GPL_2_ONLY = re.compile(r"GPL-2(\.0)?(-only)?( with .*)?")


@dataclass(frozen=True)
class OpenSet:
    """What a build has made."""

    manifest: Path
    clips: tuple[Clip, ...]
    split_by_file: tuple[str, ...]
    """Labels whose recordings come from too few origins to split by origin alone."""
    skipped: tuple[str, ...]
    """Recordings that are absent from their package, cannot be decoded or are silent."""


@dataclass(frozen=True)
class LeftOut:
    """Clips of a set that stay, and those that left it."""

    kept: tuple[Clip, ...]
    left_out: tuple[Clip, ...]


def build_open_set(
    directory: Path,
    *,
    cache: Path,
    packages: Collection[str] | None = None,
    recordings: Sequence[Recording] | None = None,
    progress: Progress = silent,
) -> OpenSet:
    """Download, decode, trim, split and write the open sound set.

    A build that was cut short goes on where it stopped: clips that are there are kept. Rendered
    clips and those of public repositories stay in the manifest. What ``leave_gpl2_out`` names
    stays in the folder alone.

    Args:
        directory: gets ``audio/<split>/<class>/*.flac``, ``manifest.jsonl`` and
            ``ATTRIBUTION.md``.
        cache: folder for the packages and the files out of them; a few GB.
        packages: take these Debian packages only; None for all of them.
        recordings: take these instead of the bundled list.
        progress: called with the packages done.

    Returns:
        The clips, and what could not be taken.

    Raises:
        DataError: a package cannot be had, or nothing at all could be taken.
    """
    chosen = select(read_recordings() if recordings is None else recordings)
    division = divide([Candidate(one.key, one.label, origin_of(one), one.side) for one in chosen], HELD_OUT)
    by_package: dict[str, list[Recording]] = defaultdict(list)
    for one in chosen:
        if packages is None or one.package in packages:
            by_package[one.package].append(one)
    made: list[tuple[Recording, Clip]] = []
    skipped: list[str] = []
    for done, (package, members) in enumerate(sorted(by_package.items())):
        progress(float(done), float(len(by_package)), package)
        for one, clips in _take_package(package, members, division.sides, cache, directory):
            made += [(one, clip) for clip in clips]
            if not clips:
                skipped.append(one.key)
    progress(float(len(by_package)), float(len(by_package)), "done")
    if not made:
        raise DataError(f"No recording could be taken from {sorted(by_package) or packages}.")
    manifest = directory / "manifest.jsonl"
    before = read_manifest(manifest) if manifest.exists() else []
    others = [clip for clip in before if is_rendered(clip) or is_from_repository(clip)]
    kept = leave_gpl2_out([*(clip for _, clip in made), *others]).kept
    write_manifest(kept, manifest)
    (directory / "ATTRIBUTION.md").write_text(_attribution(made), encoding="utf-8")
    recordings_kept = tuple(clip for clip in kept if not is_rendered(clip) and not is_from_repository(clip))
    return OpenSet(manifest, recordings_kept, division.split_by_file, tuple(skipped))


def leave_gpl2_out(clips: Sequence[Clip]) -> LeftOut:
    """Take recordings under version 2 of the GPL only off the training side, where no class is lost by it.

    Weights under a share-alike license cannot satisfy them. A class that would be left with fewer than three
    origins of recordings to train on keeps all of its own; what is tested on stays.

    Args:
        clips: of a whole set.

    Returns:
        The clips that stay, in their order, and the others.
    """
    origins: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.split == "train" and not is_rendered(clip) and not GPL_2_ONLY.fullmatch(clip.licence):
            origins[clip.labels[0]].add(clip.origin)

    def leaves(clip: Clip) -> bool:
        enough = len(origins[clip.labels[0]]) >= FEWEST_ORIGINS
        return enough and clip.split == "train" and GPL_2_ONLY.fullmatch(clip.licence) is not None

    return LeftOut(tuple(clip for clip in clips if not leaves(clip)), tuple(clip for clip in clips if leaves(clip)))


def _take_package(
    package: str, members: Sequence[Recording], sides: dict[str, Side], cache: Path, directory: Path
) -> list[tuple[Recording, list[Clip]]]:
    """Make the clips of a package; an absent or useless recording has none."""
    found = unpack_package(fetch_package(package, cache), [one.path for one in members], cache / "unpacked" / package)
    make = partial(_make_clips, found=found, sides=sides, directory=directory)
    with ThreadPoolExecutor(WORKERS) as pool:
        return list(zip(members, pool.map(make, members), strict=True))


def _make_clips(recording: Recording, *, found: dict[str, Path], sides: dict[str, Side], directory: Path) -> list[Clip]:
    """Write the clips of a recording; none where it is absent, silent or cannot be decoded."""
    if recording.path not in found:
        return []
    side = sides[recording.key]
    folder = directory / "audio" / side.split / slug(recording.label)
    name = hashlib.sha256(recording.key.encode()).hexdigest()[:12]
    marker = folder / f"{name}.count"
    if not marker.exists():
        try:
            parts = _excerpts(recording, trim(decode(found[recording.path])))
        except DataError:
            parts = []
        for index, part in enumerate(parts):
            write_clip(part, folder / f"{name}-{index}.flac")
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(str(len(parts)))
    clips = []
    for index in range(int(marker.read_text())):
        path = folder / f"{name}-{index}.flac"
        clips.append(
            Clip(
                path=path.relative_to(directory).as_posix(),
                labels=labels_of(recording.label),
                duration_s=soundfile.info(path).frames / SAMPLE_RATE,
                licence=recording.licence,
                source=recording.package,
                origin=side.origin,
                split=side.split,
                held_out=side.held_out,
            )
        )
    return clips


def _excerpts(recording: Recording, samples: Samples) -> list[Samples]:
    parts = two_excerpts(samples, MUSIC_EXCERPT_S) if recording.label == MUSIC else cut_evenly(samples, EXCERPT_S)
    trimmed = (trim(part) for part in parts)
    return [part for part in trimmed if part.size >= SHORTEST_S * SAMPLE_RATE]


def _attribution(made: Iterable[tuple[Recording, Clip]]) -> str:
    """Say where every clip comes from: under each package, licence and author, its files."""
    groups: dict[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for recording, clip in made:
        groups[recording.package, recording.licence, recording.author].append((recording.path, clip.path))
    lines = [
        "# Where the recordings come from",
        "",
        "Each was decoded, mixed down to mono, resampled to 32 kHz and trimmed. Where no author stands",
        "here, `/usr/share/doc/<package>/copyright` of the Debian package of that name has them.",
    ]
    for (package, licence, author), pairs in sorted(groups.items()):
        lines += ["", f"## {package}: {licence}", ""]
        lines += [f"By {author}.", ""] if author else []
        lines += [f"- `{clip}` from `{path}`" for path, clip in sorted(pairs)]
    return "\n".join(lines) + "\n"
