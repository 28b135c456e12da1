"""From files, sounds and spans to embedded examples; what is silent or unlike the rest of an example does not count."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from querysep.detection.network import DetectorNetwork
from querysep.detection.windows import embed_and_profile
from querysep.dsp.level import far_over_full_scale
from querysep.errors import AudioError, QueryError
from querysep.io.audio_reader import AUDIO_ENDINGS, read_audio
from querysep.io.files import results_among
from querysep.progress import Progress, silent
from querysep.queries.condition import Example
from querysep.queries.outliers import outliers
from querysep.queries.query import Query
from querysep.queries.segments import cut_segments
from querysep.types import Audio

MAX_EXAMPLE_S = 600.0
_BATCH = 16
_TINY_S = 0.1

ReadSpan = Callable[[float, float], Audio]


@dataclass(frozen=True)
class Ear:
    """What turns sound into embeddings.

    Attributes:
        detector: in evaluation mode, on ``device``.
        device: where to compute.
        read_span: gives a span of the mixture; None where there is no mixture to look into.
        progress: told about each example.
    """

    detector: DetectorNetwork
    device: torch.device
    read_span: ReadSpan | None = None
    progress: Progress = silent


def hear_span(query: Query, ear: Ear) -> Example:
    """Embed a span of the mixture.

    Raises:
        QueryError: there is no mixture, the span is silent or lies outside.
        AudioError: the mixture cannot be read.
    """
    assert query.span_s is not None
    if ear.read_span is None:
        raise QueryError(f"'{query.text}' needs the whole mixture; a stream has none. Give an audio file instead.")
    sound = ear.read_span(*query.span_s)
    wanted_s = query.span_s[1] - query.span_s[0]
    if sound.samples.shape[1] == 0:
        raise QueryError(f"'{query.text}' lies outside of the mixture, which ends before {query.span_s[0]:g} s.")
    if sound.duration_s < wanted_s - 0.01:
        end_s = query.span_s[0] + sound.duration_s
        raise QueryError(f"'{query.text}' reaches beyond the mixture, which ends at {end_s:.2f} s.")
    return _embed(
        sound, query.text, ear, f"'{query.text}' is silent in the mixture. Choose a span in which the sound is heard."
    )


def hear_audio(query: Query, ear: Ear) -> list[Example]:
    """Embed the examples of an audio query; those that cannot be used say why.

    Raises:
        QueryError: a path is missing, the only example cannot be used, or none of several can.
    """
    files = [file for path in query.paths for file in example_files(path)]
    given: list[Path | Audio] = [*files, *query.sounds]
    examples = []
    for done, one in enumerate(given):
        ear.progress(done, len(given), "reading examples")
        name = str(one) if isinstance(one, Path) else f"audio in memory {done - len(files) + 1}"
        try:
            examples.append(_hear_one(one, name, ear))
        except QueryError as error:
            if len(given) == 1:
                raise
            examples.append(Example(name, reason=str(error), warnings=(f"Skipped an example: {error}",)))
    ear.progress(len(given), len(given), "reading examples")
    if not any(example.used for example in examples):
        last = examples[-1].warnings[-1]
        raise QueryError(f"None of the {len(given)} examples of '{query.text}' can be used. The last: {last}")
    return examples


def _hear_one(given: Path | Audio, name: str, ear: Ear) -> Example:
    told = f"'{name}'" if isinstance(given, Path) else "The audio in memory"
    try:
        sound = given if isinstance(given, Audio) else read_audio(given, MAX_EXAMPLE_S + 1, mono=True)
    except AudioError as error:
        raise QueryError(f"The example cannot be used: {error}") from error
    warnings = []
    if sound.duration_s > MAX_EXAMPLE_S:
        warnings.append(f"{told} is longer than {MAX_EXAMPLE_S / 60:.0f} minutes; only its beginning is used.")
        sound = Audio(sound.samples[:, : round(MAX_EXAMPLE_S * sound.sample_rate)], sound.sample_rate)
    return _embed(sound, name, ear, f"{told} is silent. Give an example in which the sound is heard.", tuple(warnings))


def hear_sound(sound: Audio, name: str, ear: Ear) -> Example:
    """Embed a sound that has been read.

    Raises:
        QueryError: it is silent.
    """
    return _embed(sound, name, ear, f"'{name}' is silent. Give an example in which the sound is heard.")


def _embed(sound: Audio, name: str, ear: Ear, if_silent: str, warnings: tuple[str, ...] = ()) -> Example:
    """Average over the segments that are neither silent nor unlike most of the others."""
    segments = cut_segments(sound, ear.detector.config.sample_rate)
    if not len(segments.waves):
        raise QueryError(if_silent)
    over = far_over_full_scale(float(np.abs(sound.samples).max()), f"'{name}'")
    warnings += (over,) if over else ()
    if segments.used_s < _TINY_S:
        warnings += (
            f"Only {segments.used_s:.2g} s are heard in '{name}', too little to tell most sounds apart. "
            f"Give an example of at least {_TINY_S:g} s, better of one second or more.",
        )
    vectors, profiles = _embed_segments(torch.from_numpy(segments.waves), ear)
    alike = ~outliers(vectors.cpu())
    if not alike.all():
        seconds = segments.used_s * int(alike.sum()) / len(alike)
        warnings += (
            f"{segments.used_s - seconds:.0f} of the {segments.used_s:.0f} s heard in '{name}' are unlike the rest "
            "and were left out.",
        )
        alike = alike.to(vectors.device)
        return Example(name, seconds, vectors[alike].mean(dim=0), profiles[alike].mean(dim=0), warnings=warnings)
    return Example(name, segments.used_s, vectors.mean(dim=0), profiles.mean(dim=0), warnings=warnings)


def _embed_segments(
    waves: Float[Tensor, "segment time"], ear: Ear
) -> tuple[Float[Tensor, "segment condition_dim"], Float[Tensor, "segment class"]]:
    """Return the latent embeddings and the clipwise probabilities of the segments."""
    vectors, profiles = [], []
    for part in torch.split(waves, _BATCH):
        vector, profile = embed_and_profile(ear.detector, part.clone().to(ear.device))
        vectors.append(vector)
        profiles.append(profile)
    return torch.cat(vectors), torch.cat(profiles)


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
    """Give all but hidden files and what we wrote ourselves: results may lie in the folder of the examples."""
    for below, _, names in os.walk(folder):
        results = results_among(names)
        for name in names:
            file = Path(below, name)
            is_audio = file.suffix.lower() in AUDIO_ENDINGS
            if is_audio and name not in results and not name.startswith(".") and file.is_file():
                yield file
