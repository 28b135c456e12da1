"""From a separation to its files: all of them, or none."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from querysep.errors import AudioError
from querysep.io.audio_writer import AudioFormat, AudioWriter, fit_to_flac
from querysep.io.files import OutputSet, output_error
from querysep.io.mixture_source import MixtureSource
from querysep.pipeline.job import Job
from querysep.pipeline.one_pass import Piece
from querysep.pipeline.report import SeparationReport
from querysep.pipeline.wishes import Combine
from querysep.queries.query import Query


@dataclass(frozen=True)
class Place:
    """Where the files of one separation go."""

    target: Path
    residual: Path
    report: Path

    @property
    def files(self) -> tuple[Path, Path, Path]:
        """All three."""
        return self.target, self.residual, self.report


@dataclass(frozen=True)
class SeparatedFiles:
    """The three files of one separation, and the report that one of them holds."""

    target: Path
    residual: Path
    report_path: Path
    report: SeparationReport


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


def plan(mixture: Path, queries: list[Query], folder: Path, combine: Combine, audio_format: AudioFormat) -> list[Place]:
    """Name the outputs: ``<stem>.target.wav`` and so on, or ``<stem>.<n>-<query name>.target.wav`` for "each"."""
    bases = [mixture.stem]
    if combine == "each" and len(queries) > 1:
        bases = [f"{mixture.stem}.{number}-{query.name}" for number, query in enumerate(queries, 1)]
    return [
        Place(
            folder / f"{base}.target.{audio_format}",
            folder / f"{base}.residual.{audio_format}",
            folder / f"{base}.report.json",
        )
        for base in bases
    ]


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
            _write_report(parts[place.report], place.report, report)
    return [SeparatedFiles(*place.files, report) for place, report in zip(places, reports, strict=True)]


def _write_report(part: Path, name: Path, report: SeparationReport) -> None:
    try:
        part.write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise output_error(name, error) from error
