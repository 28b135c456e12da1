"""Compare two results of one protocol, row by row: python compare.py BEFORE.json AFTER.json.

For each group and figure of the rows that both have: the means, their mean difference with its 95 % interval, and the
share of results that change nothing (|figure| below 0.05 dB: nearly all of them silent). Results of earlier weights
are in the history: `git show COMMIT:recipes/default/results/open/results.json`.
"""

import sys
from pathlib import Path

import numpy as np

from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.evaluation.protocols.protocol import Row
from querysep.evaluation.report.results import read_results

FIGURES = ("sdri_db", "si_sdri_db", "clean_snr_db", "silence_sdr_db")


def rows_of(path: Path) -> dict[tuple[object, ...], Row]:
    """Return the rows by query and mixture."""
    return {(row.task, row.group, row.facts.get("part"), row.facts.get("clip")): row for row in read_results(path).rows}


before, after = (rows_of(Path(argument)) for argument in sys.argv[1:3])
print("| group | figure | rows | before | after | difference | unchanged results |")
print("| --- | --- | --: | --: | --: | --- | --: |")
for group in dict.fromkeys(key[1] for key in after):
    shared = [key for key in after if key[1] == group and key in before]
    for figure in FIGURES:
        if not shared or figure not in after[shared[0]].values:
            continue
        old, new = (np.array([rows[key].values[figure] for key in shared], float) for rows in (before, after))
        low, high = bootstrap_interval(new - old)
        print(
            f"| {group} | {figure} | {len(shared)} | {old.mean():.2f} | {new.mean():.2f} "
            f"| {(new - old).mean():+.2f} ({low:+.2f} to {high:+.2f}) | {(np.abs(new) < 0.05).mean():.3f} |"
        )
