"""From a separation to its files: all of them, or none."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from querysep.errors import AudioError
from querysep.io.audio_writer import AudioFormat, AudioWriter, fit_to_flac
from querysep.io.files import REPORT_ENDING, OutputSet, check_output
from querysep.io.mixture_source import MixtureSource, stem_of
from querysep.pipeline.detector import Detector
from querysep.pipeline.job import Job
from querysep.pipeline.one_pass import Piece
from querysep.pipeline.plots import Panel, Presence, draw
from querysep.pipeline.report import SeparationReport
from querysep.pipeline.wishes import Combine
from querysep.progress import Progress
from querysep.queries.query import Query


@dataclass(frozen=True)
class Place:
    """Where the files of one separation go; the picture only if one is wanted."""

    target: Path
    residual: Path
    report: Path
    picture: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.target, self.residual, self.report, *([] if self.picture is None else [self.picture]))


@dataclass(frozen=True)
class SeparatedFiles:
    """The files of one separation, and the report that one of them holds.

    Attributes:
        target: what was asked for.
        residual: everything else.
        report_path: the report as JSON.
        report: the same.
        picture: None if none was wanted.
    """

    target: Path
    residual: Path
    report_path: Path
    report: SeparationReport
    picture: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        files = (self.target, self.residual, self.report_path, self.picture)
        return tuple(path for path in files if path is not None)


@dataclass
class _Pair:
    """The open target and residual of one separation."""

    target: AudioWriter
    residual: AudioWriter
    limited: int = 0

    def write(self, piece: Piece, index: int) -> None:
        target = piece.targets[index]
        if self.target.audio_format == "flac":
            target, count = fit_to_flac(piece.mixture, target)
            self.limited += count
        self.target.write(target)
        self.residual.write(piece.mixture - target)


def plan(
    mixture: Path,
    queries: list[Query],
    folder: Path,
    combine: Combine,
    audio_format: AudioFormat,
    *,
    plot: bool,
    overwrite: bool,
) -> list[Place]:
    """Name the outputs: ``<stem>.target.wav`` and so on, or ``<stem>.<n>-<query name>.target.wav`` for "each".

    Raises:
        OutputError: one of them cannot be put there.
    """
    bases = [stem_of(mixture)]
    if combine == "each" and len(queries) > 1:
        bases = [f"{bases[0]}.{number}-{query.name}" for number, query in enumerate(queries, 1)]
    places = [
        Place(
            folder / f"{base}.target.{audio_format}",
            folder / f"{base}.residual.{audio_format}",
            folder / f"{base}{REPORT_ENDING}",
            folder / f"{base}.png" if plot else None,
        )
        for base in bases
    ]
    for file in (file for place in places for file in place.files):
        check_output(file, overwrite=overwrite)
    return places


def check_full_scale(source: MixtureSource) -> None:
    """Read a mixture through and refuse what FLAC would clip.

    Raises:
        AudioError: a sample exceeds full scale, or the mixture cannot be read.
    """
    for block in source.blocks():
        peak = float(np.abs(block).max(initial=0.0))
        if peak > 1:
            raise AudioError(
                f"The mixture exceeds full scale (peak {peak:.3f}), which FLAC cannot hold. Use --format wav."
            )


def write_files(job: Job, places: list[Place], audio_format: AudioFormat, *, overwrite: bool) -> list[SeparatedFiles]:
    """Run a job into its files.

    Args:
        job: not run yet.
        places: one for each target.
        audio_format: "wav" or "flac".
        overwrite: whether files that exist may be replaced.

    Raises:
        AudioError: the mixture cannot be used.
        OutputError: a file cannot be written; none appears then.
    """
    with OutputSet(overwrite=overwrite) as outputs:
        parts = {file: outputs.add(file) for place in places for file in place.files}
        with ExitStack() as stack:

            def opened(file: Path) -> AudioWriter:
                source = job.source
                writer = AudioWriter(
                    file,
                    source.sample_rate,
                    source.channels,
                    audio_format,
                    expected_samples=source.approximate_samples,
                    part=parts[file],
                )
                return stack.enter_context(writer)

            pairs = [_Pair(opened(place.target), opened(place.residual)) for place in places]
            for piece in job.run():
                for index, pair in enumerate(pairs):
                    pair.write(piece, index)
        reports = job.reports([pair.limited for pair in pairs])
        for place, report in zip(places, reports, strict=True):
            outputs.write(place.report, report.to_json())
        draw_results(
            Detector(job.model),
            job.source,
            {
                place.picture: {"Target": parts[place.target], "Residual": parts[place.residual]}
                for place in places
                if place.picture is not None
            },
            outputs,
            job.progress,
        )
    return [
        SeparatedFiles(place.target, place.residual, place.report, report, place.picture)
        for place, report in zip(places, reports, strict=True)
    ]


def draw_results(
    detector: Detector,
    source: MixtureSource,
    pictures: Mapping[Path, Mapping[str, Path]],
    outputs: OutputSet,
    progress: Progress,
) -> None:
    """Draw a mixture above what was made of it.

    Args:
        detector: gives the presence map below.
        source: the mixture.
        pictures: for each picture to write, the recordings to draw and their titles.
        outputs: takes the pictures.
        progress: told the seconds done.
    """
    if not pictures:
        return
    heard = detector.presence(source, progress=progress)
    presence = Presence(detector.labels, heard.framewise, heard.frame_s)
    for picture, results in pictures.items():
        panels = [Panel("Mixture", source.readable), *(Panel(title, file) for title, file in results.items())]
        outputs.write(picture, draw(panels, presence))
