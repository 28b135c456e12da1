"""Tables of summaries in Markdown: what the terminal, ``table.md`` and the page of results show."""

import math
from collections.abc import Iterable, Sequence

from querysep.evaluation.protocols.protocol import Summary

_NAMES = {
    "sdr": "SDR",
    "sdri": "SDRi",
    "si": "SI",
    "snr": "SNR",
    "snri": "SNRi",
    "ap": "AP",
    "map": "mAP",
    "auc": "AUC",
    "mauc": "mAUC",
    "f1": "F1",
    "psds1": "PSDS1",
    "psds2": "PSDS2",
    "nmf": "NMF",
    "irm": "IRM",
    "sir": "SIR",
    "sar": "SAR",
    "isr": "ISR",
    "v4": "v4",
}
INTERVAL = "95 % interval"
_UNITS = {"db": "dB", "s": "s", "mib": "MiB"}


def heading(metric: str) -> str:
    """Return a metric's name as people write it: ``si_sdri_db`` becomes ``SI-SDRi, dB``."""
    words = metric.split("_")
    unit = _UNITS.get(words[-1]) if len(words) > 1 else None
    named = [_NAMES.get(word, word) for word in (words[:-1] if unit else words)]
    text = " ".join(named).replace("SI S", "SI-S")
    return f"{text}, {unit}" if unit else text


def figure(value: float, digits: int = 2) -> str:
    """Return a figure with so many digits after the point; a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def digits_of(metric: str, values: Iterable[float]) -> int:
    """Return how many digits after the point the figures of a metric need: decibels 2, shares 3, counts none."""
    finite = [abs(value) for value in values if math.isfinite(value)]
    if metric.endswith("_db"):
        return 2
    if finite and all(value == int(value) for value in finite) and max(finite) > 1:
        return 0
    return 3 if max(finite, default=0.0) <= 1 else 2


def markdown(summaries: Sequence[Summary], headline: str) -> str:
    """Return summaries as tables in Markdown, see ``cells``."""
    tables = []
    for table in cells(summaries, headline):
        rule = ["---" if left else "--:" for left in _left(table[0])]
        lines = [table[0], rule, *([cell.replace("|", "\\|") for cell in line] for line in table[1:])]
        tables.append("".join("".join(f"| {cell} " if cell else "| " for cell in line) + "|\n" for line in lines))
    return "\n".join(tables)


def cells(summaries: Sequence[Summary], headline: str) -> list[list[list[str]]]:
    """Return summaries as tables: one for all that have the same metrics.

    One metric stands first and has its intervals beside it: the headline, or where a table lacks it, the first one in
    decibels that has intervals, or the first of all that has.

    Args:
        summaries: in the protocol's order.
        headline: the metric that counts.

    Returns:
        Tables of lines of cells; the first line is the heads.
    """
    alike: dict[frozenset[str], list[Summary]] = {}
    for summary in summaries:
        alike.setdefault(frozenset(summary.values), []).append(summary)
    return [_table(some, headline) for some in alike.values()]


def _first_metric(summaries: Sequence[Summary], headline: str) -> str:
    metrics = list(summaries[0].values)
    ranged = [metric for metric in metrics if any(metric in summary.intervals for summary in summaries)]
    in_db = [metric for metric in ranged if metric.endswith("_db")]
    return headline if headline in metrics else next(iter([*in_db, *ranged, *metrics]), "")


def _left(heads: Sequence[str]) -> list[bool]:
    """Say which columns are words."""
    return [head in ("", INTERVAL) for head in heads]


def _table(summaries: Sequence[Summary], headline: str) -> list[list[str]]:
    first = _first_metric(summaries, headline)
    metrics = sorted(summaries[0].values, key=lambda metric: metric != first)  # otherwise as they are
    ranged = first if any(first in summary.intervals for summary in summaries) else ""
    digits = {metric: digits_of(metric, [summary.values[metric] for summary in summaries]) for metric in metrics}
    heads = ["", "count"]
    for metric in metrics:
        heads += [heading(metric), INTERVAL] if metric == ranged else [heading(metric)]
    lines = [heads]
    for summary in summaries:
        line = [summary.name, str(summary.count)]
        for metric in metrics:
            line.append(figure(summary.values[metric], digits[metric]))
            if metric == ranged:
                ends = summary.intervals.get(metric, ())
                line.append(" to ".join(figure(end, digits[metric]) for end in ends))
        lines.append(line)
    return lines
