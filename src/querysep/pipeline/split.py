"""Take a mixture apart into all that is found in it: listen to it once, then separate everything in one more pass."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from querysep.detection.events import Event
from querysep.detection.windows import PresenceMap
from querysep.dsp.level import SILENT, far_over_full_scale
from querysep.errors import AudioError, ConfigError
from querysep.io.mixture_source import MixtureSource
from querysep.model import Model
from querysep.pipeline.detector import Listener
from querysep.pipeline.found_classes import FoundGroup, Level, check_level, found_groups
from querysep.pipeline.one_pass import OnePass, Piece
from querysep.pipeline.report import MixtureFacts, querysep_version
from querysep.pipeline.split_parts import Part, TimeGate, arranged, make_part
from querysep.pipeline.split_report import EventFacts, SplitReport, StemFacts
from querysep.progress import Progress
from querysep.queries.examples import Ear
from querysep.types import Audio, FloatArray

THRESHOLD = 0.5
MAX_STEMS = 8


@dataclass(frozen=True)
class Split:
    """A mixture taken apart; all stems and the rest add up to it.

    Attributes:
        stems: by label, the most surely present first.
        rest: everything else.
        events: what is present when, by onset.
        report: what was done, and every warning.
    """

    stems: dict[str, Audio]
    rest: Audio
    events: list[Event]
    report: SplitReport


@dataclass(frozen=True)
class SplitWishes:
    """How a mixture is to be taken apart.

    Attributes:
        level: 1 for the widest groups, 2 for families, 3 for the model's classes.
        threshold: least presence, above 0, at most 1; on the scale of ``Detector.events``.
        max_stems: how many stems at most, at least 1.
        per_channel: estimate a mask for each channel.

    Raises:
        ConfigError: a value is out of range.
    """

    level: Level = 3
    threshold: float = THRESHOLD
    max_stems: int = MAX_STEMS
    per_channel: bool = False

    def __post_init__(self) -> None:
        check_level(self.level)
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"The threshold must lie above 0 and at most at 1; got {self.threshold:g}.")
        if self.max_stems < 1:
            raise ConfigError(f"At least one stem must be allowed; got {self.max_stems}.")


@dataclass
class SplitJob:
    """A split that runs once: `listen`, then `run`, then `report`.

    Attributes:
        model: a loaded model.
        source: the mixture.
        wishes: how it is to be taken apart.
        started: when the work began, by ``time.perf_counter``.
        progress: told the seconds done.
        parts: what will be separated; known after `listen`.
        events: all that was found, by onset; known after `listen`.
    """

    model: Model
    source: MixtureSource
    wishes: SplitWishes
    started: float
    progress: Progress
    parts: list[Part] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    _left_over: list[str] = field(default_factory=list)
    _unheard: list[str] = field(default_factory=list)
    _frame_s: float = 0.0
    _samples: int = 0
    _peak: float = 0.0
    _energy: float = 0.0
    _stem_energies: list[float] = field(default_factory=list)

    def listen(self) -> None:
        """Find what is in the mixture, and make the conditions.

        Raises:
            AudioError: the mixture cannot be used.
        """
        presence = self._presence()
        if self._peak < SILENT:
            return
        wishes, labels = self.wishes, self.model.labels
        groups = found_groups(presence, labels, wishes.level, wishes.threshold, calibration=self.model.events)
        found = sorted((event for group in groups for event in group.events), key=lambda one: (one.onset_s, -one.score))
        self.events = found
        self._frame_s = presence.frame_s
        self._left_over = [group.label for group in groups[wishes.max_stems :]]
        self._ask(groups[: wishes.max_stems], groups, presence)

    def _presence(self) -> PresenceMap:
        source = self.source
        listener = Listener(self.model, source.sample_rate)
        for block in source.blocks():
            listener.push(block)
            self._samples += block.shape[1]
            self._peak = max(self._peak, float(np.abs(block).max(initial=0.0)))
            self._tell(self._samples, "detecting")
        if not self._samples:
            raise AudioError("The mixture holds no samples. Give a recording with sound.")
        return listener.finish()

    def _ask(self, chosen: Sequence[FoundGroup], groups: Sequence[FoundGroup], presence: PresenceMap) -> None:
        ear = Ear(self.model.detector, self.model.device, self.source.read_span)
        for group in sorted(chosen, key=lambda one: -max(event.score for event in one.events)):
            others = [other for other in groups if other is not group]
            part = make_part(group, others, presence, self.model.labels, self.model.label_bank, ear)
            if part is None:
                self._unheard.append(group.label)
            else:
                self.parts.append(part)
        self._stem_energies = [0.0] * len(self.parts)

    def _tell(self, samples: int, what: str) -> None:
        rate, stated = self.source.sample_rate, self.source.approximate_samples
        self.progress(samples / rate, None if stated is None else stated / rate, what)

    def run(self) -> Iterator[Piece]:
        """Separate all parts, piece by piece; a piece has a target for each part.

        Raises:
            AudioError: the mixture cannot be used.
        """
        done = 0
        for piece in self._pieces():
            done += piece.mixture.shape[1]
            self._energy += _energy(piece.mixture)
            for index, target in enumerate(piece.targets):
                self._stem_energies[index] += _energy(target)
            self._tell(done, "separating")
            yield piece

    def _pieces(self) -> Iterator[Piece]:
        if not self.parts:
            for block in self.source.blocks():
                yield Piece(block, np.zeros((0, *block.shape), np.float32))
            return
        network = self.model.separator
        vectors, rule = arranged(self.parts)
        gate = TimeGate(self.parts, self._frame_s, network.config.hop, network.config.sample_rate)
        one_pass = OnePass(
            network, vectors, rule, self.source.sample_rate, per_channel=self.wishes.per_channel, gate=gate
        )
        yield from one_pass.run(self.source.blocks())

    def report(self, paths: Sequence[str] = (), rest: str | None = None, limited: int = 0) -> SplitReport:
        """Report on everything; call it after the last piece.

        Args:
            paths: of the stems' files.
            rest: file of the rest.
            limited: how many samples were limited to fit FLAC.
        """
        source, wishes = self.source, self.wishes
        seconds, duration_s = time.perf_counter() - self.started, self._samples / source.sample_rate
        return SplitReport(
            querysep_version=querysep_version(),
            model=self.model.name,
            model_hash=self.model.hash,
            device=str(self.model.device),
            seconds=seconds,
            real_time_factor=seconds / duration_s,
            mixture=MixtureFacts(
                path=None if source.path is None else str(source.path),
                duration_s=duration_s,
                sample_rate=source.sample_rate,
                channels=source.channels,
            ),
            level=wishes.level,
            threshold=wishes.threshold,
            max_stems=wishes.max_stems,
            per_channel=wishes.per_channel,
            stems=[self._stem_facts(index, paths[index] if paths else None) for index in range(len(self.parts))],
            rest=rest,
            events=[
                EventFacts(onset_s=one.onset_s, offset_s=one.offset_s, label=one.label, score=one.score)
                for one in self.events
            ],
            warnings=self._warnings(limited),
        )

    def _stem_facts(self, index: int, path: str | None) -> StemFacts:
        part = self.parts[index]
        return StemFacts(
            label=part.group.label,
            classes=[self.model.labels[one] for one in part.group.classes],
            presence=max(event.score for event in part.group.events),
            present_s=sum(event.offset_s - event.onset_s for event in part.group.events),
            energy_share=self._stem_energies[index] / max(self._energy, 1e-20),
            span_s=part.span_s,
            path=path,
        )

    def _warnings(self, limited: int) -> list[str]:
        over = far_over_full_scale(self._peak, "The mixture")
        told = [over] if over else []
        if self._peak < SILENT:
            told.append("The mixture is silent, so there is only the rest, silent too.")
        elif not self.events:
            told.append(
                f"Nothing reaches a presence of {self.wishes.threshold:g}, so all is in the rest. "
                "Try a lower --threshold."
            )
        if self._left_over:
            told.append(
                f"{len(self._left_over)} more {'was' if len(self._left_over) == 1 else 'were'} found and stay in the "
                f"rest: {', '.join(self._left_over)}. Raise --max, or take a wider --level."
            )
        if self._unheard:
            told.append(
                f"Found, but neither in the model's label bank nor loud enough to listen to, so in the rest: "
                f"{', '.join(self._unheard)}."
            )
        if limited:
            told.append(f"{limited} samples of the stems were limited so that FLAC can hold them and the rest.")
        return told


def split_in_memory(job: SplitJob) -> Split:
    """Run a job that has not listened yet."""
    job.listen()
    pieces = list(job.run())
    rate = job.source.sample_rate
    rest = np.concatenate([rest_of(piece) for piece in pieces], axis=-1)
    targets = np.concatenate([piece.targets for piece in pieces], axis=-1)
    del pieces
    labels = [part.group.label for part in job.parts]
    stems = {label: Audio(target, rate) for label, target in zip(labels, targets, strict=True)}
    return Split(stems, Audio(rest, rate), job.events, job.report())


def rest_of(piece: Piece) -> FloatArray:
    """Return what no target has, rounded once."""
    rest: FloatArray = (piece.mixture - piece.targets.sum(axis=0, dtype=np.float64)).astype(np.float32)
    return rest


def _energy(samples: FloatArray) -> float:
    return float(np.square(samples, dtype=np.float64).sum())
