"""From a split to its files: all of them, or none."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from querysep.io.audio_writer import AudioFormat, AudioWriter, fit_to_flac
from querysep.io.files import REPORT_ENDING, OutputSet, check_output
from querysep.io.mixture_source import stem_of
from querysep.pipeline.detector import Detector
from querysep.pipeline.event_table import events_csv
from querysep.pipeline.found_classes import slugs
from querysep.pipeline.one_pass import Piece
from querysep.pipeline.split import SplitJob, rest_of
from querysep.pipeline.split_report import SplitReport
from querysep.pipeline.to_files import draw_results
from querysep.types import FloatArray


@dataclass(frozen=True)
class SplitFiles:
    """The files of one split, and the report that one of them holds.

    Attributes:
        stems: by label, the most surely present first.
        rest: everything else.
        events: the table of what is present when.
        report_path: the report as JSON.
        report: the same.
        picture: None if none was wanted.
    """

    stems: dict[str, Path]
    rest: Path
    events: Path
    report_path: Path
    report: SplitReport
    picture: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        files = (*self.stems.values(), self.rest, self.events, self.report_path, self.picture)
        return tuple(path for path in files if path is not None)


@dataclass(frozen=True)
class SplitPlace:
    """Where the files of one split go, but for the stems: ``<stem>.rest.wav`` and so on."""

    rest: Path
    events: Path
    report: Path
    picture: Path | None


def plan_split(mixture: Path, folder: Path, audio_format: AudioFormat, *, plot: bool, overwrite: bool) -> SplitPlace:
    """Name what is written whatever is found.

    Raises:
        OutputError: one of the files cannot be put there.
    """
    base = stem_of(mixture)
    place = SplitPlace(
        folder / f"{base}.rest.{audio_format}",
        folder / f"{base}.events.csv",
        folder / f"{base}{REPORT_ENDING}",
        folder / f"{base}.png" if plot else None,
    )
    for file in (place.rest, place.events, place.report, place.picture):
        if file is not None:
            check_output(file, overwrite=overwrite)
    return place


def write_split(job: SplitJob, place: SplitPlace, audio_format: AudioFormat, *, overwrite: bool) -> SplitFiles:
    """Run a job that has listened into its files.

    Args:
        job: not run yet.
        place: of the files that are written whatever is found.
        audio_format: "wav" or "flac".
        overwrite: whether files that exist may be replaced.

    Raises:
        AudioError: the mixture cannot be used.
        OutputError: a file exists or cannot be written; none appears then.
    """
    short = slugs([part.group.label for part in job.parts])
    base = place.report.name.removesuffix(REPORT_ENDING)
    stems = {label: place.rest.with_name(f"{base}.{slug}.{audio_format}") for label, slug in short.items()}
    for path in stems.values():
        check_output(path, overwrite=overwrite)
    with OutputSet(overwrite=overwrite) as outputs:
        sounds = [*stems.values(), place.rest]
        parts = {path: outputs.add(path) for path in sounds}
        limited = 0
        with ExitStack() as stack:
            source = job.source
            writers = [
                stack.enter_context(
                    AudioWriter(
                        path,
                        source.sample_rate,
                        source.channels,
                        audio_format,
                        expected_samples=source.approximate_samples,
                        part=parts[path],
                    )
                )
                for path in sounds
            ]
            for piece in job.run():
                samples, count = _shares(piece, audio_format)
                limited += count
                for writer, one in zip(writers, samples, strict=True):
                    writer.write(one)
        report = job.report([str(path) for path in stems.values()], str(place.rest), limited)
        outputs.write(place.events, events_csv(job.events).encode())
        outputs.write(place.report, report.to_json())
        if place.picture is not None:
            drawn = {label: parts[path] for label, path in stems.items()} | {"Rest": parts[place.rest]}
            draw_results(Detector(job.model), job.source, {place.picture: drawn}, outputs, job.progress)
    return SplitFiles(stems, place.rest, place.events, place.report, report, place.picture)


def _shares(piece: Piece, audio_format: AudioFormat) -> tuple[list[FloatArray], int]:
    """Return stems and rest as they are written, and how many samples had to be limited."""
    if audio_format == "wav":
        return [*piece.targets, rest_of(piece)], 0
    left, stems, limited = piece.mixture, [], 0
    for target in piece.targets:
        stem, count = fit_to_flac(left, target)
        left = left - stem
        stems.append(stem)
        limited += count
    return [*stems, left], limited
