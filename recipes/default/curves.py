"""Draw the curves of the bundled weights' trainings: python curves.py LOGS OUTPUT.png."""

import csv
import sys
from pathlib import Path

from matplotlib.figure import Figure

SDRI = "validation_sdri_db"
CURVES = (
    ("detector-with-teacher.csv", "validation_map", "Detector, second sitting: mean average precision"),
    ("detector-fifth-sitting.csv", "validation_map", "Detector, fifth sitting: mean average precision"),
    ("detector-sixth-sitting.csv", "validation_map", "Detector, sixth sitting: mean average precision"),
    ("separator-second-sitting.csv", SDRI, "Separator, second sitting: SDRi, dB"),
    ("separator-third-sitting.csv", SDRI, "Separator, third sitting: SDRi, dB"),
    ("separator-fourth-sitting.csv", "validation_presence_auc", "Separator, fourth sitting: presence AUC"),  # README.md
    ("separator-fifth-sitting.csv", SDRI, "Separator, fifth sitting: SDRi, dB"),
    ("separator-fifth-sitting-new-embeddings.csv", SDRI, "Separator, fifth, new embeddings: SDRi, dB"),
    ("separator-sixth-sitting.csv", SDRI, "Separator, sixth sitting: SDRi, dB"),
    ("separator-seventh-sitting.csv", SDRI, "Separator, seventh sitting, one process: SDRi, dB"),
    ("separator-seventh-sitting-two.csv", SDRI, "Separator, seventh sitting, two processes: SDRi, dB"),
    ("separator-ninth-sitting.csv", SDRI, "Separator, ninth sitting: SDRi, dB"),
)

logs, output = (Path(argument) for argument in sys.argv[1:3])
figure = Figure(figsize=(16, 14), dpi=100, layout="constrained")
for place, (name, validation, title) in enumerate(CURVES, start=1):
    axes = figure.add_subplot(4, 3, place)
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
