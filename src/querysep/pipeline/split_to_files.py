"""From a split to its files: all of them, or none."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from querysep.io.audio_writer import AudioFormat, AudioWriter, fit_to_flac
from querysep.io.files import OutputSet, check_output, output_error
from querysep.pipeline.event_table import events_csv
from querysep.pipeline.found_classes import slugs
from querysep.pipeline.one_pass import Piece
from querysep.pipeline.split import SplitJob, rest_of
from querysep.pipeline.split_report import SplitReport
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
    """

    stems: dict[str, Path]
    rest: Path
    events: Path
    report_path: Path
    report: SplitReport

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return (*self.stems.values(), self.rest, self.events, self.report_path)


def fixed_names(base: Path, audio_format: AudioFormat) -> tuple[Path, Path, Path]:
    """Name rest, events and report: what is written whatever is found.

    Args:
        base: folder and stem of the mixture's name.
        audio_format: "wav" or "flac".
    """
    names = (f"{base.name}.{ending}" for ending in (f"rest.{audio_format}", "events.csv", "report.json"))
    rest, events, report = (base.with_name(name) for name in names)
    return rest, events, report


def write_split(job: SplitJob, base: Path, audio_format: AudioFormat, *, overwrite: bool) -> SplitFiles:
    """Run a job that has listened into its files.

    Args:
        job: not run yet.
        base: folder and stem of the mixture's name.
        audio_format: "wav" or "flac".
        overwrite: whether files that exist may be replaced.

    Raises:
        AudioError: the mixture cannot be used.
        OutputError: a file exists or cannot be written; none appears then.
    """
    short = slugs([part.group.label for part in job.parts])
    stems = {label: base.with_name(f"{base.name}.{slug}.{audio_format}") for label, slug in short.items()}
    rest, events, report_path = fixed_names(base, audio_format)
    for path in stems.values():
        check_output(path, overwrite=overwrite)
    with OutputSet(overwrite=overwrite) as outputs:
        sounds = [*stems.values(), rest]
        parts = {path: outputs.add(path) for path in (*sounds, events, report_path)}
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
        report = job.report([str(path) for path in stems.values()], str(rest), limited)
        _write_text(parts[events], events, events_csv(job.events))
        _write_text(parts[report_path], report_path, report.model_dump_json(indent=2) + "\n")
    return SplitFiles(stems, rest, events, report_path, report)


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


def _write_text(part: Path, name: Path, text: str) -> None:
    try:
        part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise output_error(name, error) from error
