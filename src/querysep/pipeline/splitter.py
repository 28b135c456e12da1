"""Taking all of a mixture apart: the part of the separator that needs no query."""

import time
from pathlib import Path
from typing import Any

from querysep.io.audio_writer import check_format
from querysep.io.mixture_source import MixtureSource
from querysep.model import Model
from querysep.pipeline.found_classes import Level
from querysep.pipeline.split import MAX_STEMS, THRESHOLD, Split, SplitJob, SplitWishes, split_in_memory
from querysep.pipeline.split_to_files import SplitFiles, plan_split, write_split
from querysep.pipeline.to_files import check_full_scale
from querysep.progress import Progress, silent


class Splitter:
    """Find what is in mixtures and take all of it apart.

    Args:
        model: a loaded model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model

    def split(
        self,
        mixture: Any,
        *,
        sample_rate: int | None = None,
        level: Level = 3,
        threshold: float = THRESHOLD,
        max_stems: int = MAX_STEMS,
        per_channel: bool = False,
        progress: Progress = silent,
    ) -> Split:
        """Find what is in a mixture and take all of it apart, in memory.

        Args:
            mixture: as `separate`.
            sample_rate: of an array, in Hz.
            level: 1 for the widest groups of sounds, 2 for families, 3 for the model's own classes.
            threshold: presence that a class must reach, above 0, at most 1; on the scale of ``Detector.events``.
            max_stems: how many stems at most; of what is found, that of which there is most.
            per_channel: estimate a mask for each channel instead of one for all.
            progress: told the seconds done.

        Returns:
            Stems and rest, which add up to the mixture; nothing but the rest where nothing is found.

        Raises:
            AudioError: the mixture cannot be used.
            ConfigError: level, threshold or max_stems is out of range.
        """
        started = time.perf_counter()
        wishes = SplitWishes(level, threshold, max_stems, per_channel)
        return split_in_memory(SplitJob(self.model, MixtureSource(mixture, sample_rate), wishes, started, progress))

    def split_file(
        self,
        path: str | Path,
        output_dir: str | Path,
        *,
        level: Level = 3,
        threshold: float = THRESHOLD,
        max_stems: int = MAX_STEMS,
        format: str = "wav",
        overwrite: bool = False,
        per_channel: bool = False,
        plot: bool = False,
        progress: Progress = silent,
    ) -> SplitFiles:
        """Find what is in a file and take all of it apart into files, in memory that does not grow with its duration.

        Writes ``<stem>.<class>.wav`` for each stem, ``<stem>.rest.wav``, ``<stem>.events.csv`` and
        ``<stem>.report.json``. All appear together, or none.

        Args:
            path: the mixture; "-" for standard input.
            output_dir: made where it is missing.
            level: as `split`.
            threshold: as `split`.
            max_stems: as `split`.
            format: "wav" (32-bit float) or "flac" (24-bit).
            overwrite: whether outputs that exist may be replaced.
            per_channel: as `split`.
            plot: write ``<stem>.png`` as well, the spectrograms and the presence map.
            progress: told the seconds done.

        Raises:
            AudioError: the mixture cannot be used, or FLAC cannot hold it.
            ConfigError: level, threshold or max_stems is out of range.
            OutputError: an output exists, its folder cannot be written to, or the disk is full.
        """
        started = time.perf_counter()
        wishes = SplitWishes(level, threshold, max_stems, per_channel)
        source = MixtureSource(Path(path))
        audio_format = check_format(format, source.channels, source.sample_rate)
        place = plan_split(Path(path), Path(output_dir), audio_format, plot=plot, overwrite=overwrite)
        if audio_format == "flac" and source.may_exceed_full_scale:
            check_full_scale(source)
        job = SplitJob(self.model, source, wishes, started, progress)
        job.listen()
        return write_split(job, place, audio_format, overwrite=overwrite)
