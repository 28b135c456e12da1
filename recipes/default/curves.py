"""Draw the curves of the second, third and fourth sitting: python curves.py LOGS OUTPUT.png."""

import csv
import sys
from pathlib import Path

from matplotlib.figure import Figure

logs, output = (Path(argument) for argument in sys.argv[1:3])
figure = Figure(figsize=(20, 3.6), dpi=100, layout="constrained")
for axes, (name, validation, title) in zip(
    figure.subplots(1, 4),
    (
        ("detector-with-teacher.csv", "validation_map", "Detector: mean average precision, validation side"),
        ("separator-second-sitting.csv", "validation_sdri_db", "Separator, second sitting: SDRi, dB, validation side"),
        ("separator-third-sitting.csv", "validation_sdri_db", "Separator, third sitting: SDRi, dB, validation side"),
        # Its SDRi is missing, see README.md.
        ("separator-fourth-sitting.csv", "validation_presence_auc", "Separator, fourth sitting: presence AUC"),
    ),
    strict=True,
):
    with (logs / name).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    seen = [row for row in rows if row[validation]]
    looks = [
        row
        for before, row in zip([None, *seen], seen, strict=False)
        if before is None or row[validation] != before[validation]
    ]
    axes.plot(
        [float(row["minutes"]) for row in looks], [float(row[validation]) for row in looks], "o-", color="tab:blue"
    )
    axes.set_ylabel(validation, color="tab:blue")
    loss = axes.twinx()
    loss.plot(
        [float(row["minutes"]) for row in rows], [float(row["loss"]) for row in rows], color="tab:grey", alpha=0.5
    )
    loss.set_ylabel("training loss", color="tab:grey")
    axes.set_xlabel("minutes")
    axes.set_title(title, fontsize=10)
figure.savefig(output)
