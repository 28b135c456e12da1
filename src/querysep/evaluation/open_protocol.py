"""The ``open`` protocol: SDR improvement on mixtures of two classes, asked for both of its sources."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from querysep.dsp.stft import istft, stft
from querysep.evaluation.metrics import bootstrap_interval, si_sdr_db, snr_db
from querysep.evaluation import protocol
from querysep.evaluation.open_mixtures import SAMPLE_RATE, OpenMixtures, TestSource
from querysep.evaluation.protocol import Protocol
from querysep.pipeline import Separator
from querysep.progress import Progress, silent
from querysep.types import Audio

PROTOCOL = "open/1"
_ORACLE_N_FFT, _ORACLE_HOP = 2048, 512


@dataclass(frozen=True)
class Row:
    """One query for one mixture.

    Attributes:
        mixture: number of the mixture in its group.
        group: "seen" or "held-out", by the class that is asked for.
        role: "first" or "second" source of the mixture.
        label: class asked for.
        other_label: class of the other source.
        sdri_db: improvement of the whole-length SNR over the mixture.
        si_sdri_db: improvement of the SI-SDR over the mixture.
        oracle_db: improvement that the ideal ratio mask reaches.
        presence: presence score of the report.
        clip: recording of the target.
        query_clip: recording of the query.
    """

    mixture: int
    group: str
    role: str
    label: str
    other_label: str
    sdri_db: float
    si_sdri_db: float
    oracle_db: float
    presence: float
    clip: str
    query_clip: str


@dataclass(frozen=True)
class Summary:
    """Means over the rows of a group, with 95 % bootstrap intervals of the SDR improvement."""

    name: str
    queries: int
    sdri_db: float
    low_db: float
    high_db: float
    si_sdri_db: float
    oracle_db: float
    made_worse: float


def ideal_ratio_mask(target: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return what masking the mixture by the true magnitudes' ratio gives, shape (time,)."""
    first, second = (stft(torch.from_numpy(wave), _ORACLE_N_FFT, _ORACLE_HOP) for wave in (target, other))
    mask = first.abs() / (first.abs() + second.abs()).clamp(min=1e-9)
    estimate: NDArray[np.float32] = istft((first + second) * mask, _ORACLE_N_FFT, _ORACLE_HOP, target.shape[0]).numpy()
    return estimate


def evaluate_open(
    separator: Separator, manifest: Path, mixtures: int = 200, seed: int = 0, progress: Progress = silent
) -> list[Row]:
    """Separate mixtures of seen classes, and as many with a held-out class, by queries from other recordings.

    Args:
        separator: what is measured.
        manifest: of the open sound set.
        mixtures: of each kind; each is asked for both sources.
        seed: of the choice of mixtures.
        progress: told after each mixture.

    Returns:
        One row for each query.

    Raises:
        DataError: the test split is too small.
    """
    drawn = OpenMixtures(manifest, seed)
    kinds = [False, True] if drawn.held_out else [False]
    rows: list[Row] = []
    for kind in kinds:
        for index, pair in enumerate(drawn.draw(mixtures, kind)):
            rows.extend(_measure(separator, index, pair))
            progress(index + 1 + mixtures * int(kind), mixtures * len(kinds), "separating mixtures")
    return rows


def _measure(separator: Separator, index: int, pair: tuple[TestSource, TestSource]) -> list[Row]:
    mixture = pair[0].wave + pair[1].wave
    queries = [Audio(source.query[None], SAMPLE_RATE) for source in pair]
    results = separator.separate_each(Audio(mixture[None], SAMPLE_RATE), queries)
    rows = []
    for number, result in enumerate(results):
        source, other = pair[number], pair[1 - number]
        before, before_si = snr_db(source.wave, mixture), si_sdr_db(source.wave, mixture)
        estimate = result.target.samples[0]
        rows.append(
            Row(
                mixture=index,
                group="held-out" if source.held_out else "seen",
                role=("first", "second")[number],
                label=source.label,
                other_label=other.label,
                sdri_db=snr_db(source.wave, estimate) - before,
                si_sdri_db=si_sdr_db(source.wave, estimate) - before_si,
                oracle_db=snr_db(source.wave, ideal_ratio_mask(source.wave, other.wave)) - before,
                presence=result.presence,
                clip=source.clip,
                query_clip=source.query_clip,
            )
        )
    return rows


def summarise(rows: Sequence[Row]) -> list[Summary]:
    """Return the means for seen classes (both roles and each), for held-out ones, and per class."""
    two_seen = [row for row in rows if row.group == "seen" and not _other_is_held_out(row, rows)]
    groups = [
        ("seen", two_seen),
        ("seen, first source", [row for row in two_seen if row.role == "first"]),
        ("seen, second source", [row for row in two_seen if row.role == "second"]),
        ("held-out", [row for row in rows if row.group == "held-out"]),
        ("seen beside held-out", [row for row in rows if row.group == "seen" and _other_is_held_out(row, rows)]),
    ]
    groups += [(label, [row for row in rows if row.label == label]) for label in sorted({row.label for row in rows})]
    return [_summary(name, chosen) for name, chosen in groups if chosen]


def _other_is_held_out(row: Row, rows: Sequence[Row]) -> bool:
    held_out = {other.label for other in rows if other.group == "held-out"}
    return row.other_label in held_out


def _summary(name: str, rows: Sequence[Row]) -> Summary:
    improvements = np.array([row.sdri_db for row in rows])
    low, high = bootstrap_interval(improvements)
    return Summary(
        name=name,
        queries=len(rows),
        sdri_db=float(improvements.mean()),
        low_db=low,
        high_db=high,
        si_sdri_db=float(np.mean([row.si_sdri_db for row in rows])),
        oracle_db=float(np.mean([row.oracle_db for row in rows])),
        made_worse=float((improvements < 0).mean()),
    )


def table(summaries: Sequence[Summary]) -> str:
    """Return the summaries as a Markdown table."""
    lines = [
        "| | queries | SDRi, dB | 95 % interval | SI-SDRi, dB | ideal ratio mask, dB | made worse |",
        "| --- | --: | --: | --- | --: | --: | --: |",
    ]
    lines += [
        f"| {s.name} | {s.queries} | {s.sdri_db:.2f} | {s.low_db:.2f} to {s.high_db:.2f} | {s.si_sdri_db:.2f} "
        f"| {s.oracle_db:.2f} | {100 * s.made_worse:.0f} % |"
        for s in summaries
    ]
    return "\n".join(lines) + "\n"


def results_json(rows: Sequence[Row], separator: Separator, seed: int, version: str) -> str:
    """Return rows and summaries as JSON, with what is needed to repeat them."""
    content = {
        "protocol": PROTOCOL,
        "model": separator.model.name,
        "model_hash": separator.model.hash,
        "seed": seed,
        "querysep": version,
        "torch": torch.__version__,
        "summary": [asdict(summary) for summary in summarise(rows)],
        "rows": [asdict(row) for row in rows],
    }
    return json.dumps(content, indent=1) + "\n"


class OpenProtocol(Protocol):
    """SDR improvement on mixtures of a data set's test side, asked for by other recordings.

    Args:
        data: a data set of any layout; its folder may hold ``multitrack.jsonl`` beside the manifest.
        model: name of a bundled model, or a weights folder.
        mixtures: of each kind.
        seed: of the choice of mixtures.
        device: auto, cpu, cuda or mps.
        queries: kinds of query to ask by: example, label, span, text.
        compare: other models, by name or folder, measured on the same mixtures.
        baselines: slow baselines to measure beside: nmf.
        robustness: measure also what examples, lengths, levels, stereo, time and memory do.
        robustness_mixtures: mixtures for each of these.
    """

    name = "open"
    version = 2
    headline = "sdri_db"

    def __init__(
        self,
        data: str | Path,
        model: str | Path = "default",
        *,
        mixtures: int = 500,
        seed: int = 0,
        device: str = "auto",
        queries: Sequence[str] = ("example",),
        compare: Sequence[str | Path] = (),
        baselines: Sequence[str] = (),
        robustness: bool = False,
        robustness_mixtures: int = 50,
    ) -> None:
        self._data, self._model, self._device = str(data), str(model), device
        self._mixtures, self._seed = mixtures, seed

    def settings(self) -> Mapping[str, object]:
        """Return what decides the figures."""
        return {"mixtures": self._mixtures, "seed": self._seed}

    def tasks(self) -> Sequence[str]:
        """Return a key for each mixture."""
        return [f"seen/{index:04d}" for index in range(self._mixtures)]

    def measure(self, task: str) -> list[protocol.Row]:
        """Measure a mixture."""
        raise NotImplementedError

    def summarise(self, rows: Sequence[protocol.Row]) -> list[protocol.Summary]:  # type: ignore[override]
        """Return the means."""
        raise NotImplementedError
