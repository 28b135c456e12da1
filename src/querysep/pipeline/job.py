"""One mixture, its resolved queries, and the report on what became of them."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from querysep.dsp.level import far_over_full_scale
from querysep.errors import AudioError
from querysep.io.mixture_source import MixtureSource
from querysep.model import Model
from querysep.pipeline.one_pass import OnePass, Piece
from querysep.pipeline.presence import UNCALIBRATED, PresenceGate
from querysep.pipeline.report import ExampleFacts, MixtureFacts, QueryFacts, SeparationReport, querysep_version
from querysep.pipeline.wishes import Arranged, Wishes
from querysep.progress import Progress
from querysep.queries.condition import Condition

HARDLY_PRESENT = 0.1
_LOW_RATE = 16_000  # Hz


@dataclass
class Job:
    """A separation that runs once.

    Attributes:
        model: a loaded model.
        source: the mixture.
        wishes: the resolved queries.
        per_channel: estimate a mask for each channel.
        keep_absent: do not silence what is not there.
        started: when the work began, by ``time.perf_counter``.
        progress: told the seconds done.
    """

    model: Model
    source: MixtureSource
    wishes: Wishes
    per_channel: bool
    keep_absent: bool
    started: float
    progress: Progress
    _asked: Arranged = field(init=False)
    _gate: PresenceGate = field(init=False)
    _pass: OnePass = field(init=False)

    def __post_init__(self) -> None:
        self._asked = asked = self.wishes.arranged()
        self._gate = PresenceGate(self.model, asked.vectors, asked.profiles, keep_absent=self.keep_absent)
        self._pass = OnePass(
            self.model.separator,
            asked.vectors,
            asked.rule,
            self.source.sample_rate,
            per_channel=self.per_channel,
            gate=self._gate,
        )

    def run(self) -> Iterator[Piece]:
        """Separate, piece by piece.

        Raises:
            AudioError: the mixture cannot be used.
        """
        rate, stated = self.source.sample_rate, self.source.approximate_samples
        total_s = None if stated is None else stated / rate
        done = 0
        self.progress(0.0, total_s, "separating")
        for piece in self._pass.run(self.source.blocks()):
            done += piece.mixture.shape[1]
            self.progress(done / rate, total_s, "separating")
            yield piece
        if done == 0:
            raise AudioError("The mixture holds no samples. Give a recording with sound.")

    def reports(self, limited: Sequence[int] | None = None) -> list[SeparationReport]:
        """Report on each target; call it once, after the last piece.

        Args:
            limited: for each target, how many of its samples were limited to fit FLAC.
        """
        wanted, unwanted = self.wishes.of_each(self._asked, self._gate.scores)
        facts = [_facts(*pair) for pair in zip(self.wishes.wanted, wanted, strict=True)]
        not_facts = [_facts(*pair) for pair in zip(self.wishes.unwanted, unwanted, strict=True)]
        groups = self.wishes.groups()
        counts = limited or [0] * len(groups)
        return [self._report(group, facts, not_facts, count) for group, count in zip(groups, counts, strict=True)]

    def _report(
        self, group: list[int], facts: list[QueryFacts], not_facts: list[QueryFacts], limited: int
    ) -> SeparationReport:
        seconds = time.perf_counter() - self.started
        source = self.source
        duration_s = self._pass.samples / source.sample_rate
        presence = self._presence([facts[index] for index in group])
        return SeparationReport(
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
            queries=[facts[index] for index in group],
            not_queries=not_facts,
            combine=self.wishes.combine,
            per_channel=self.per_channel,
            keep_absent=self.keep_absent,
            presence=presence,
            presence_calibrated=self.model.presence is not None,
            warnings=self._warnings([self.wishes.wanted[index] for index in group], presence, not_facts, limited),
        )

    def _presence(self, facts: list[QueryFacts]) -> float:
        """Examples of one sound are averaged; of alternatives the most present counts."""
        if self.wishes.combine != "mean":
            return max(fact.presence for fact in facts)
        presences = [fact.presence for fact in facts if fact.examples_used]
        return sum(presences) / len(presences)

    def _warnings(
        self, conditions: list[Condition], presence: float, not_facts: list[QueryFacts], limited: int
    ) -> list[str]:
        found = [warning for condition in (*conditions, *self.wishes.unwanted) for warning in condition.warnings]
        clash = self.wishes.clash()
        found += [clash] if clash else []
        over = far_over_full_scale(self._pass.peak, "The mixture")
        found += [over] if over else []
        if self._pass.is_silent:
            found.append("The mixture is silent, so the target is silent too.")
        elif presence < HARDLY_PRESENT:
            found.append(
                f"The queried sound was hardly found in the mixture (presence {presence:.2f})" + self._consequence()
            )
        found += [UNCALIBRATED] if self.model.presence is None else []
        found += [
            f"--not '{fact.text}' was hardly found in the mixture (presence {fact.presence:.2f}); keeping out what "
            "is not there costs some of the target."
            for fact in not_facts
            if fact.presence < HARDLY_PRESENT and not self._pass.is_silent
        ]
        if self.source.sample_rate < _LOW_RATE:
            found.append(
                f"The mixture's rate is only {self.source.sample_rate} Hz; with nothing above "
                f"{self.source.sample_rate // 2} Hz, sounds are harder to tell apart."
            )
        if limited:
            found.append(f"{limited} samples of the target were limited so that FLAC can hold target and residual.")
        return found

    def _consequence(self) -> str:
        if self.keep_absent or self.model.presence is None:
            return "."
        return (
            ", so the target is faint or silent where it was not; --keep-absent (keep_absent=True) leaves it as it is."
        )


def _facts(condition: Condition, presence: float) -> QueryFacts:
    return QueryFacts(
        kind=condition.query.kind,
        text=condition.query.text,
        examples_used=condition.examples_used,
        seconds_used=condition.seconds_used,
        presence=presence,
        examples=[
            ExampleFacts(
                name=example.name,
                used=example.used,
                reason=example.reason,
                weight=example.weight,
                seconds_used=example.seconds_used,
            )
            for example in condition.examples
        ],
    )
