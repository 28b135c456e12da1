"""The latent embedding processor: any number of examples become one condition (Section 3.3 of the paper)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from querysep.detection.htsat import Htsat
from querysep.detection.windows import embed_and_profile
from querysep.errors import AudioError, QueryError
from querysep.io.audio_reader import AUDIO_ENDINGS, read_audio
from querysep.progress import Progress, silent
from querysep.queries.query import Query
from querysep.queries.segments import Segments, cut_segments
from querysep.types import Audio

MAX_EXAMPLE_S = 600.0
_BATCH = 16

ReadSpan = Callable[[float, float], Audio]


@dataclass(frozen=True)
class Condition:
    """A query, ready for the separator.

    Attributes:
        vector: shape (condition_dim,).
        profile: the classes that the detector hears in the examples, probabilities, shape (class,).
        query: what it was made from.
        examples_used: number of files, spans or sounds in the mean.
        seconds_used: how much of them was not silent.
        warnings: what the user should know.
    """

    vector: Tensor
    profile: Tensor
    query: Query
    examples_used: int
    seconds_used: float
    warnings: tuple[str, ...] = ()


@dataclass
class _Means:
    vectors: list[Tensor] = field(default_factory=list)
    profiles: list[Tensor] = field(default_factory=list)
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)


def resolve(
    query: Query,
    detector: Htsat,
    device: torch.device,
    *,
    read_span: ReadSpan | None = None,
    progress: Progress = silent,
) -> Condition:
    """Turn a query into a condition: the mean over examples of the mean over each example's segments.

    Args:
        query: what the user wants.
        detector: in evaluation mode, on ``device``.
        device: where to compute.
        read_span: gives a span of the mixture; None where there is no mixture to look into.
        progress: told about each example.

    Raises:
        QueryError: no example can be used, the span lies outside the mixture, or this version has no such queries.
        AudioError: the mixture cannot be read.
    """
    match query.kind:
        case "audio":
            return _resolve_audio(query, detector, device, progress)
        case "span":
            return _resolve_span(query, detector, device, read_span)
    raise QueryError(
        f"'{query.text}': this version takes audio files, folders and span:START-END; "
        f"'{query.kind}:' queries come later. Give an example of the sound."
    )


def _resolve_span(query: Query, detector: Htsat, device: torch.device, read_span: ReadSpan | None) -> Condition:
    assert query.span_s is not None
    if read_span is None:
        raise QueryError(f"'{query.text}' needs the whole mixture; a stream has none. Give an audio file instead.")
    sound = read_span(*query.span_s)
    wanted_s = query.span_s[1] - query.span_s[0]
    if sound.samples.shape[1] == 0:
        raise QueryError(f"'{query.text}' lies outside of the mixture, which ends before {query.span_s[0]:g} s.")
    if sound.duration_s < wanted_s - 0.01:
        end_s = query.span_s[0] + sound.duration_s
        raise QueryError(f"'{query.text}' reaches beyond the mixture, which ends at {end_s:.2f} s.")
    segments = cut_segments(sound, detector.config.sample_rate)
    if not len(segments.waves):
        raise QueryError(f"'{query.text}' is silent in the mixture. Choose a span in which the sound is heard.")
    vector, profile = _embed(segments, detector, device)
    return Condition(vector, profile, query, 1, segments.used_s)


def _resolve_audio(query: Query, detector: Htsat, device: torch.device, progress: Progress) -> Condition:
    files = [file for path in query.paths for file in example_files(path)]
    total = len(files) + len(query.sounds)
    means = _Means()
    examples: list[Path | Audio] = [*files, *query.sounds]
    for done, example in enumerate(examples):
        progress(done, total, "reading examples")
        try:
            _add_example(example, means, detector, device)
        except QueryError as error:
            if total == 1:
                raise
            means.warnings.append(f"Skipped an example: {error}")
    progress(total, total, "reading examples")
    if not means.vectors:
        raise QueryError(f"None of the {total} examples of '{query.text}' can be used. The last: {means.warnings[-1]}")
    vector = torch.stack(means.vectors).mean(dim=0)
    profile = torch.stack(means.profiles).mean(dim=0)
    return Condition(vector, profile, query, len(means.vectors), means.seconds, tuple(means.warnings))


def _add_example(example: Path | Audio, means: _Means, detector: Htsat, device: torch.device) -> None:
    name = f"'{example}'" if isinstance(example, Path) else "The audio in memory"
    try:
        sound = example if isinstance(example, Audio) else read_audio(example, MAX_EXAMPLE_S + 1, mono=True)
    except AudioError as error:
        raise QueryError(f"The example cannot be used: {error}") from error
    if sound.duration_s > MAX_EXAMPLE_S:
        means.warnings.append(f"{name} is longer than {MAX_EXAMPLE_S / 60:.0f} minutes; only its beginning is used.")
        sound = Audio(sound.samples[:, : round(MAX_EXAMPLE_S * sound.sample_rate)], sound.sample_rate)
    segments = cut_segments(sound, detector.config.sample_rate)
    if not len(segments.waves):
        raise QueryError(f"{name} is silent. Give an example in which the sound is heard.")
    vector, profile = _embed(segments, detector, device)
    means.vectors.append(vector)
    means.profiles.append(profile)
    means.seconds += segments.used_s


def _embed(segments: Segments, detector: Htsat, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the mean latent embedding and the mean clipwise probabilities of the segments."""
    vectors, profiles = [], []
    for start in range(0, len(segments.waves), _BATCH):
        waves = torch.from_numpy(segments.waves[start : start + _BATCH].copy()).to(device)
        vector, profile = embed_and_profile(detector, waves)
        vectors.append(vector)
        profiles.append(profile)
    return torch.cat(vectors).mean(dim=0), torch.cat(profiles).mean(dim=0)


def example_files(path: Path) -> list[Path]:
    """Return the audio files that a path stands for: itself, or all below it if it is a folder, by name.

    Raises:
        QueryError: there is nothing, or a folder holds no audio file.
    """
    try:
        if not path.is_dir():
            if not path.exists():
                raise QueryError(f"There is no file or folder '{path}'. Check the query's spelling.")
            return [path]
        files = sorted(_audio_below(path))
    except OSError as error:
        raise QueryError(f"'{path}' cannot be read: {error.strerror}. Check its permissions.") from error
    if not files:
        raise QueryError(f"The folder '{path}' holds no audio files. Give WAV, FLAC, OGG, MP3 or the like.")
    return files


def _audio_below(folder: Path) -> Iterator[Path]:
    for file in folder.rglob("*"):
        if file.suffix.lower() in AUDIO_ENDINGS and not file.name.startswith(".") and file.is_file():
            yield file
