"""Draw the validation figures and losses of the bundled weights' stages: python curves.py LOGS OUTPUT.png."""

import csv
import sys
from pathlib import Path

from matplotlib.figure import Figure

MAP, SDRI, AUC = "validation_map", "validation_sdri_db", "validation_presence_auc"
CURVES = (
    ("stage-2-detector", MAP, "Stage 2, detector: mean average precision"),
    ("stage-5-detector", MAP, "Stage 5, detector: mean average precision"),
    ("stage-6-detector", MAP, "Stage 6, detector: mean average precision"),
    ("stage-2-separator", SDRI, "Stage 2, separator: SDRi, dB"),
    ("stage-3-separator", SDRI, "Stage 3, separator: SDRi, dB"),
    ("stage-4-separator", AUC, "Stage 4, separator: presence AUC"),  # its SDRi was not a number
    ("stage-5-separator-a", SDRI, "Stage 5, separator, part 1: SDRi, dB"),
    ("stage-5-separator-b", SDRI, "Stage 5, separator, part 2: SDRi, dB"),
    ("stage-6-separator", SDRI, "Stage 6, separator: SDRi, dB"),
    ("stage-7-separator-a", SDRI, "Stage 7, separator, part 1: SDRi, dB"),
    ("stage-7-separator-b", SDRI, "Stage 7, separator, part 2: SDRi, dB"),
    ("stage-8-separator", SDRI, "Stage 8, separator: SDRi, dB"),
)

logs, output = (Path(argument) for argument in sys.argv[1:3])
figure = Figure(figsize=(16, 14), dpi=100, layout="constrained")
for place, (name, metric, title) in enumerate(CURVES, start=1):
    axes = figure.add_subplot(4, 3, place)
    with (logs / f"{name}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    measured = [row for row in rows if row[metric]]
    validations = [
        row
        for before, row in zip([None, *measured], measured, strict=False)
        if before is None or row[metric] != before[metric]
    ]
    axes.plot(
        [float(row["minutes"]) for row in validations],
        [float(row[metric]) for row in validations],
        "o-",
        color="tab:blue",
    )
    axes.set_ylabel(metric, color="tab:blue")
    loss = axes.twinx()
    loss.plot(
        [float(row["minutes"]) for row in rows], [float(row["loss"]) for row in rows], color="tab:grey", alpha=0.5
    )
    loss.set_ylabel("training loss", color="tab:grey")
    axes.set_xlabel("minutes")
    axes.set_title(title, fontsize=10)
figure.savefig(output)
