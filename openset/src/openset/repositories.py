"""The fourth edition: recordings out of public git repositories, which a list names by repository, commit and path."""

import csv
import gzip
import hashlib
import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import cast

import soundfile

from openset.building import SHORTEST_S, leave_gpl2_out
from openset.clips import SAMPLE_RATE, decode, slug, trim, write_clip
from openset.recordings import HELD_OUT, labels_of
from openset.rendering import replace_clips
from querysep.data.manifest import REPOSITORY, Clip, Split, is_from_repository, read_manifest, write_manifest
from querysep.errors import DataError
from querysep.progress import Progress, silent

HOST = "https://github.com/"


@dataclass(frozen=True)
class RepositoryClip:
    """A stretch of a file in a public git repository."""

    repository: str
    """Owner and name."""
    commit: str
    """First digits of its hash."""
    source_path: str
    start_s: float
    seconds: float
    license: str
    credit: str
    origin: str
    label: str
    split: Split
    edition: int
    """The edition of the set that it came with."""

    @property
    def key(self) -> str:
        """A name that no other clip has."""
        return clip_key(self.repository, self.source_path, self.start_s)


@dataclass(frozen=True)
class Added:
    """What has been added to a set."""

    clips: tuple[Clip, ...]
    skipped: tuple[str, ...]
    """Clips that are absent from their repository, cannot be decoded or are silent."""
    left_out: tuple[Clip, ...]
    """Clips of the whole set that left the training side, being under version 2 of the GPL only."""


def clip_key(repository: str, source_path: str, start_s: float) -> str:
    """Name a clip by where it is from."""
    return f"{repository}:{source_path}@{start_s:g}"


def read_repository_clips() -> list[RepositoryClip]:
    """Read the list that is bundled with this package."""
    packed = files("openset").joinpath("assets", "repositories.csv.gz").read_bytes()
    return [
        RepositoryClip(
            repository=row["repository"],
            commit=row["commit"],
            source_path=row["source_path"],
            start_s=float(row["start_s"]),
            seconds=float(row["seconds"]),
            license=row["license"],
            credit=row["credit"],
            origin=row["origin"],
            label=row["label"],
            split=cast(Split, row["split"]),
            edition=int(row["edition"]),
        )
        for row in csv.DictReader(gzip.decompress(packed).decode().splitlines())
    ]


def add_repositories(
    directory: Path,
    *,
    cache: Path,
    folder: Path | None = None,
    clips: Sequence[RepositoryClip] | None = None,
    host: str = HOST,
    progress: Progress = silent,
) -> Added:
    """Add the clips of public repositories to a set; those of an earlier call are replaced, files that are there kept.

    On the training side silent edges are cut, as of all other recordings; what is tested on stays as it was recorded.

    Args:
        directory: of the set; ``manifest.jsonl`` is made where there is none.
        cache: folder for the repositories.
        folder: holds the clips already, with a ``manifest.csv`` that says which is which; None fetches them with git.
        clips: take these instead of the bundled list.
        host: where the repositories are: what stands before owner and name.
        progress: called with the repositories done.

    Returns:
        The clips, and what could not be taken.

    Raises:
        DataError: a repository or the folder cannot be had, or nothing at all could be taken.
    """
    listed = read_repository_clips() if clips is None else clips
    in_folder = None if folder is None else _read_folder(folder)
    by_commit: dict[tuple[str, str], list[RepositoryClip]] = defaultdict(list)
    for one in listed:
        by_commit[one.repository, one.commit].append(one)
    made: list[tuple[RepositoryClip, Clip]] = []
    skipped: list[str] = []
    for done, ((repository, commit), members) in enumerate(sorted(by_commit.items())):
        progress(float(done), float(len(by_commit)), repository)
        if in_folder is None:
            root = fetch_repository(repository, commit, {one.source_path for one in members}, cache, host)
            sources = {one.key: root / one.source_path for one in members}
        else:
            sources = {one.key: in_folder[one.key] for one in members if one.key in in_folder}
        for one in members:
            clip = _make_clip(one, sources.get(one.key), directory, is_cut=in_folder is not None)
            if clip is None:
                skipped.append(one.key)
            else:
                made.append((one, clip))
    progress(float(len(by_commit)), float(len(by_commit)), "done")
    if not made:
        raise DataError(f"No clip could be taken from {folder or host}, such as '{skipped[0] if skipped else ''}'.")
    manifest = directory / "manifest.jsonl"
    replace_clips(manifest, [clip for _, clip in made], is_from_repository)
    left_out = leave_gpl2_out(read_manifest(manifest))
    write_manifest(left_out.kept, manifest)
    (directory / "ATTRIBUTION_repositories.md").write_text(_attribution(made), encoding="utf-8")
    kept = tuple(clip for clip in left_out.kept if is_from_repository(clip))
    return Added(kept, tuple(skipped), left_out.left_out)


def fetch_repository(repository: str, commit: str, paths: Collection[str], cache: Path, host: str = HOST) -> Path:
    """Fetch files of a commit with git; of the rest of the repository only what describes it.

    Args:
        repository: owner and name.
        commit: first digits of its hash.
        paths: of the files. Those that the commit lacks are left out.
        cache: folder for repositories.
        host: what stands before owner and name in the address.

    Returns:
        The folder in which the files lie.

    Raises:
        DataError: git is missing, or knows no such repository or commit.
    """
    folder = cache / "repositories" / f"{repository.replace('/', '--')}@{commit}"
    if all((folder / path).is_file() for path in paths):
        return folder
    if shutil.which("git") is None:
        raise DataError(f"Cannot fetch '{repository}': there is no git here. Give a folder by --repositories.")
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        address = f"{host}{repository}.git"
        _git(repository, ["clone", "--quiet", "--no-checkout", "--filter=blob:none", address, str(part)])
        part.rename(folder)
    there = set(_git(repository, ["-C", str(folder), "ls-tree", "-r", "-z", "--name-only", commit]).split("\0"))
    wanted = sorted(there.intersection(paths))
    if wanted:
        checkout = ["-C", str(folder), "checkout", "--quiet", commit, "--pathspec-from-file=-", "--pathspec-file-nul"]
        _git(repository, checkout, "\0".join(wanted))
    return folder


def _git(repository: str, arguments: Sequence[str], given: str = "") -> str:
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1", "GIT_LFS_SKIP_SMUDGE": "1"}
    done = subprocess.run(
        ["git", *arguments], input=given, capture_output=True, text=True, check=False, env={**os.environ, **quiet}
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.split()).rstrip(".")[-300:]
        raise DataError(
            f"git could not fetch '{repository}': {said}. "
            "Check the network, or give a folder that holds the clips by --repositories."
        )
    return done.stdout


def _read_folder(folder: Path) -> dict[str, Path]:
    """Return the files of a folder by what they were cut from."""
    try:
        with (folder / "manifest.csv").open(encoding="utf-8", newline="") as file:
            return {
                clip_key(row["repository"], row["source_path"], float(row["start_s"])): folder / row["path"]
                for row in csv.DictReader(file)
            }
    except (OSError, KeyError, ValueError) as error:
        raise DataError(
            f"Cannot read '{folder / 'manifest.csv'}': {type(error).__name__} {error}. "
            "It must have the columns path, repository, source_path and start_s."
        ) from error


def _make_clip(one: RepositoryClip, source: Path | None, directory: Path, *, is_cut: bool) -> Clip | None:
    """Write a clip, unless it is there; None where it is absent, silent or cannot be decoded."""
    if source is None or not source.is_file():
        return None
    name = hashlib.sha256(one.key.encode()).hexdigest()[:12]
    path = directory / "audio" / one.split / slug(one.label) / f"{name}-0.flac"
    if not path.exists():
        try:
            samples = decode(source)
        except DataError:
            return None
        if not is_cut:
            first = round(one.start_s * SAMPLE_RATE)
            samples = samples[first : first + round(one.seconds * SAMPLE_RATE)]
        sounding = trim(samples)
        if sounding.size < SHORTEST_S * SAMPLE_RATE:
            return None
        write_clip(sounding if one.split == "train" else samples, path)
    labels = labels_of(one.label)
    return Clip(
        path=path.relative_to(directory).as_posix(),
        labels=labels,
        duration_s=soundfile.info(path).frames / SAMPLE_RATE,
        licence=one.license,
        source=f"{REPOSITORY}{one.repository}",
        origin=one.origin,
        split=one.split,
        held_out=not HELD_OUT.isdisjoint(labels),
    )


def _attribution(made: Sequence[tuple[RepositoryClip, Clip]]) -> str:
    """Say where every clip comes from: under each repository, commit and license, its files with their credits."""
    groups: Mapping[tuple[str, str, str], list[tuple[str, str]]] = defaultdict(list)
    for one, clip in made:
        credit = f" ({one.credit})" if one.credit else ""
        where = f"`{one.source_path}` from {one.start_s:g} s{credit}"
        groups[one.repository, one.commit, one.license].append((clip.path, where))
    lines = [
        "# Where the recordings out of public repositories come from",
        "",
        "Each was decoded, mixed down to mono and resampled to 32 kHz; those that are trained on were trimmed.",
    ]
    for (repository, commit, license_name), pairs in sorted(groups.items()):
        lines += ["", f"## {HOST}{repository}, commit {commit}: {license_name}", ""]
        lines += [f"- `{clip}` from {where}" for clip, where in sorted(pairs)]
    return "\n".join(lines) + "\n"
