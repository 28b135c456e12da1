"""The one class most users meet: mixture + query -> Separation."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from querysep.errors import QueryError
from querysep.io.audio_writer import check_format
from querysep.io.mixture_source import MixtureSource, as_audio
from querysep.model import Model, load_model
from querysep.pipeline.detector import Detector
from querysep.pipeline.job import Job
from querysep.pipeline.one_pass import OnePass
from querysep.pipeline.presence import PresenceGate
from querysep.pipeline.report import SeparationReport
from querysep.pipeline.splitter import Splitter
from querysep.pipeline.to_files import SeparatedFiles, check_full_scale, plan, write_files
from querysep.pipeline.wishes import Combine, Wishes
from querysep.progress import Progress, silent
from querysep.queries.examples import Ear, ReadSpan
from querysep.queries.query import Query
from querysep.queries.resolve import resolve
from querysep.types import Audio, FloatArray


@dataclass(frozen=True)
class Separation:
    """A mixture taken apart; target + residual = mixture.

    Attributes:
        target: what the query asked for.
        residual: everything else.
        presence: how surely the mixture holds the sound asked for, 0..1.
        report: what was done, and every warning.
    """

    target: Audio
    residual: Audio
    presence: float
    report: SeparationReport


class Separator(Splitter):
    """Take the sound a query asks for out of mixtures of any length, rate and channel count.

    Args:
        model: a loaded model.
        bank: place of the user's bank, for ``bank:NAME``: a folder or ``s3://bucket/prefix``; by default QUERYSEP_BANK,
            or the platform's data folder.
    """

    def __init__(self, model: Model, bank: str | Path | None = None) -> None:
        super().__init__(model)
        self._bank = bank
        self.detector = Detector(model)

    @classmethod
    def load(cls, name: str | Path = "default", device: str = "auto", bank: str | Path | None = None) -> Self:
        """Load a model: the name of a bundled one, or a weights folder.

        Args:
            name: of a bundled model, or a weights folder.
            device: "auto", "cpu", "cuda" or "mps".
            bank: place of the user's bank, see the class.

        Raises:
            WeightsError: there is no such model, or it is damaged.
            DeviceError: the device is not there.
        """
        return cls(load_model(name, device), bank)

    def separate(
        self,
        mixture: Any,
        query: Any,
        *,
        sample_rate: int | None = None,
        not_: Any = None,
        combine: Combine = "mean",
        per_channel: bool = False,
        keep_absent: bool = False,
        progress: Progress = silent,
    ) -> Separation:
        """Separate a mixture in memory.

        Args:
            mixture: a path, Audio, or an array or tensor of shape (time,) or (channel, time).
            query: a `Query`, a string as on the command line, a path, Audio, an array, or a list of these.
            sample_rate: of arrays, in Hz.
            not_: what is to stay out of the target: as `query`; several are alternatives.
            combine: "mean" averages several queries into one condition, "max" takes the largest of their masks.
            per_channel: estimate a mask for each channel instead of one for all.
            keep_absent: do not silence the target where the sound is surely not there.
            progress: told the seconds done.

        Raises:
            AudioError: the mixture cannot be used.
            QueryError: a query cannot be used.
        """
        if combine == "each":
            raise QueryError("combine='each' gives several results: use separate_each() or separate_file().")
        results = self._in_memory(
            mixture,
            query,
            sample_rate=sample_rate,
            not_=not_,
            combine=combine,
            per_channel=per_channel,
            keep_absent=keep_absent,
            progress=progress,
        )
        return results[0]

    def separate_each(
        self,
        mixture: Any,
        queries: Any,
        *,
        sample_rate: int | None = None,
        not_: Any = None,
        per_channel: bool = False,
        keep_absent: bool = False,
        progress: Progress = silent,
    ) -> list[Separation]:
        """Separate a mixture in memory once for each query, in one pass; see `separate`."""
        return self._in_memory(
            mixture,
            queries,
            sample_rate=sample_rate,
            not_=not_,
            combine="each",
            per_channel=per_channel,
            keep_absent=keep_absent,
            progress=progress,
        )

    def _in_memory(
        self,
        mixture: Any,
        query: Any,
        *,
        sample_rate: int | None,
        not_: Any,
        combine: Combine,
        per_channel: bool,
        keep_absent: bool,
        progress: Progress,
    ) -> list[Separation]:
        started = time.perf_counter()
        queries, unwanted = _queries(query, sample_rate), _unwanted(not_, sample_rate)
        source = MixtureSource(mixture, sample_rate)
        wishes = self._resolve(queries, unwanted, combine, source.read_span, progress)
        job = Job(self.model, source, wishes, per_channel, keep_absent, started, progress)
        pieces = list(job.run())
        whole = np.concatenate([piece.mixture for piece in pieces], axis=-1)
        targets = np.concatenate([piece.targets for piece in pieces], axis=-1)
        del pieces
        rate = source.sample_rate
        return [
            Separation(Audio(target, rate), Audio(whole - target, rate), report.presence, report)
            for target, report in zip(targets, job.reports(), strict=True)
        ]

    def separate_file(
        self,
        path: str | Path,
        queries: Any,
        output_dir: str | Path,
        *,
        not_: Any = None,
        combine: Combine = "mean",
        format: str = "wav",
        overwrite: bool = False,
        per_channel: bool = False,
        keep_absent: bool = False,
        plot: bool = False,
        progress: Progress = silent,
    ) -> list[SeparatedFiles]:
        """Separate a file into files, in memory that does not grow with its duration.

        Writes ``<stem>.target.wav``, ``<stem>.residual.wav`` and ``<stem>.report.json``; with several queries and
        combine="each" a set ``<stem>.<n>-<query name>.*`` for each. All appear together, or none.

        Args:
            path: the mixture; "-" for standard input.
            queries: as `separate`.
            output_dir: made where it is missing.
            not_: what is to stay out of every target, as `separate`.
            combine: "mean", "max" or "each".
            format: "wav" (32-bit float) or "flac" (24-bit).
            overwrite: whether outputs that exist may be replaced.
            per_channel: estimate a mask for each channel instead of one for all.
            keep_absent: as `separate`.
            plot: write ``<stem>.png`` as well, the spectrograms and the presence map.
            progress: told the seconds done.

        Returns:
            One entry for each target.

        Raises:
            AudioError: the mixture cannot be used, or FLAC cannot hold it.
            QueryError: a query cannot be used.
            OutputError: an output exists, its folder cannot be written to, or the disk is full.
        """
        started = time.perf_counter()
        wanted, unwanted = _queries(queries, None), _unwanted(not_, None)
        source = MixtureSource(Path(path))
        audio_format = check_format(format, source.channels, source.sample_rate)
        places = plan(Path(path), wanted, Path(output_dir), combine, audio_format, plot=plot, overwrite=overwrite)
        if audio_format == "flac" and source.may_exceed_full_scale:
            check_full_scale(source)
        wishes = self._resolve(wanted, unwanted, combine, source.read_span, progress)
        job = Job(self.model, source, wishes, per_channel, keep_absent, started, progress)
        return write_files(job, places, audio_format, overwrite=overwrite)

    def stream(
        self,
        blocks: Iterable[Any],
        query: Any,
        sample_rate: int,
        *,
        not_: Any = None,
        combine: Combine = "mean",
        per_channel: bool = False,
        keep_absent: bool = False,
    ) -> Iterator[FloatArray]:
        """Separate sound as it comes, in bounded memory.

        Args:
            blocks: arrays or tensors of shape (time,) or (channel, time), of any length; one array is one recording.
            query: as `separate`, without spans.
            sample_rate: of the blocks (and of array queries), in Hz.
            not_: what is to stay out of the target, as `query`.
            combine: "mean" or "max".
            per_channel: estimate a mask for each channel instead of one for all.
            keep_absent: as `separate`; what is there is decided chunk by chunk, as the sound comes.

        Returns:
            An iterator of blocks of the target, shape (channel, time), later than the mixture by about a chunk; as many
            samples in all.

        Raises:
            AudioError: a block cannot be used (while iterating).
            QueryError: the query cannot be used.
        """
        if combine == "each":
            raise QueryError("A stream gives one target: combine must be 'mean' or 'max'.")
        queries, unwanted = _queries(query, sample_rate), _unwanted(not_, sample_rate)
        wishes = self._resolve(queries, unwanted, combine, None, silent)
        asked = wishes.arranged()
        deaf = keep_absent or self.model.presence is None
        gate = None if deaf else PresenceGate(self.model, asked.vectors, asked.profiles)
        one_pass = OnePass(
            self.model.separator, asked.vectors, asked.rule, sample_rate, per_channel=per_channel, gate=gate
        )
        if isinstance(blocks, np.ndarray) or hasattr(blocks, "detach"):
            blocks = [blocks]
        checked = (as_audio(block, sample_rate).samples for block in blocks if np.shape(block)[-1])
        return (piece.targets[0] for piece in one_pass.run(checked))

    def _resolve(
        self,
        queries: list[Query],
        unwanted: list[Query],
        combine: Combine,
        read_span: ReadSpan | None,
        progress: Progress,
    ) -> Wishes:
        ear = Ear(self.model.detector, self.model.device, read_span, progress)
        labels, words, own = self.model.label_bank, self.model.text_map, self._bank
        wanted = resolve(queries, ear, labels, text_map=words, own_bank=own, together=combine == "mean")
        return Wishes(tuple(wanted), combine, tuple(resolve(unwanted, ear, labels, text_map=words, own_bank=own)))


def _queries(wishes: Any, sample_rate: int | None) -> list[Query]:
    many = list(wishes) if isinstance(wishes, list | tuple) else [wishes]
    if not many:
        raise QueryError("No query was given. Give at least one example of the sound.")
    return [Query.of(wish, sample_rate) for wish in many]


def _unwanted(wishes: Any, sample_rate: int | None) -> list[Query]:
    if wishes is None or (isinstance(wishes, list | tuple) and not wishes):
        return []
    return _queries(wishes, sample_rate)
