"""The table of the ``open`` protocol: means by group, presence, what other levels change, means by class."""

from collections.abc import Iterable, Sequence

import numpy as np

from querysep.evaluation.presence_metrics import calibration_error, presence_auc
from querysep.evaluation.protocol import Row, Summary
from querysep.evaluation.summaries import of_rows

_BY_CLASS = ("seen", "held-out", "stems")
_ROUNDS = 500


def summarise_open(rows: Sequence[Row], ways: Iterable[str]) -> list[Summary]:
    """Return the summaries, the groups in the order in which they come first.

    Args:
        rows: of any number of tasks.
        ways: kinds of query beside examples that were to be asked by; those without an answer are named.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    found = [of_rows(name, some) for name, some in groups.items()]
    found += _presences(groups)
    found += [
        Summary(name=f"by {way}: the model answers no such query", count=0, values={})
        for way in ways
        if groups and not any(name.endswith(f", by {way}") for name in groups)
    ]
    found += _level_change(rows)
    for name in _BY_CLASS:
        some = groups.get(name, [])
        found += [
            of_rows(f"{name}: {label}", [row for row in some if row.label == label])
            for label in sorted({row.label for row in some})
        ]
    return found


def _presences(groups: dict[str, list[Row]]) -> list[Summary]:
    """Tell what is there from what is not, in mixtures of two seen classes, for each model."""
    found = []
    for name, absent in groups.items():
        if name == "absent" or name.startswith("absent, "):
            present = groups.get(name.replace("absent", "seen", 1), [])
            if present:
                found.append(_presence(name.replace("absent", "presence", 1), present, absent))
    return found


def _presence(name: str, present: Sequence[Row], absent: Sequence[Row]) -> Summary:
    there, not_there = (np.array([row.values["presence"] for row in some]) for some in (present, absent))
    rng = np.random.default_rng(0)
    drawn = [presence_auc(rng.choice(there, len(there)), rng.choice(not_there, len(not_there))) for _ in range(_ROUNDS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Summary(
        name=name,
        count=len(present) + len(absent),
        values={
            "presence_auc": presence_auc(there, not_there),
            "presence_calibration_error": calibration_error(there, not_there),
        },
        intervals={"presence_auc": (float(low), float(high))},
    )


def _level_change(rows: Sequence[Row]) -> list[Summary]:
    """Say by how much the improvement differs at most between levels of one mixture."""
    by_query: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.group.startswith("level ") and "sdri_db" in row.values:
            by_query.setdefault((row.task, row.facts["part"]), []).append(row.values["sdri_db"])
    if not by_query:
        return []
    largest = max(max(values) - min(values) for values in by_query.values())
    name = "level, largest change of one mixture"
    return [Summary(name=name, count=len(by_query), values={"sdri_change_db": largest})]
