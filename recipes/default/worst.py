"""Show what failed in `querysep evaluate open`: python worst.py RESULTS.json DATA MODEL FOLDER.

Takes the 30 rows with the least SDRi of mixtures of two seen classes, queries again by the target itself and by the
name of its class, and writes FOLDER/worst.md and sheets of spectrograms of 10 rows each.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from querysep import Query, Separator
from querysep.errors import QueryError
from querysep.evaluation.metrics.signal import snr_db
from querysep.evaluation.protocols.open import OpenProtocol
from querysep.evaluation.report.results import read_results
from querysep.types import Audio

COUNT, ON_A_SHEET = 30, 10
CLEARLY_DB = 3.0
MIXED_DB = 10.0


def improvement(separator: Separator, mixture: Audio, target: Audio, query: Query) -> float:
    """Return the SDR improvement for a query; NaN where the model does not know it."""
    try:
        estimate = separator.separate(mixture, query, keep_absent=True).target
    except QueryError:
        return float("nan")
    return snr_db(target.samples, estimate.samples) - snr_db(target.samples, mixture.samples)


def cause(sdri: float, ideal: float, own: float, named: float) -> str:
    """Name what the figures point to."""
    if own - sdri > CLEARLY_DB:
        return "example" if not named - sdri < CLEARLY_DB else "example and class"
    return "model, and the sounds overlap" if ideal < MIXED_DB else "model"


def draw(axes: Axes, sound: Audio, title: str) -> None:
    """Draw a spectrogram."""
    with np.errstate(divide="ignore"):
        axes.specgram(sound.mono + 1e-7, NFFT=1024, Fs=sound.sample_rate, noverlap=512, vmin=-140, vmax=-40)
    axes.set_title(title, fontsize=7)
    axes.set_axis_off()


def main(results: Path, data: str, model: str, folder: Path) -> None:
    """Write the table and the sheets."""
    found = read_results(results)
    settings = found.identity.settings
    protocol = OpenProtocol(data, model, mixtures=settings["mixtures"], seed=settings["seed"], device="cpu")
    separator = Separator.load(model, "cpu")
    rows = sorted((row for row in found.rows if row.group == "seen"), key=lambda row: row.values["sdri_db"])[:COUNT]
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "| | class | beside | SDRi, dB | ideal mask | by the target itself | by name | presence | points to |",
        "| --: | --- | --- | --: | --: | --: | --: | --: | --- |",
    ]
    for first in range(0, len(rows), ON_A_SHEET):
        sheet = Figure(figsize=(10, 1.3 * ON_A_SHEET), dpi=90, layout="constrained")
        grid = sheet.subplots(ON_A_SHEET, 4, squeeze=False)
        for place, row in enumerate(rows[first : first + ON_A_SHEET]):
            sounds = protocol.sounds(row)
            own = improvement(separator, sounds["mixture"], sounds["target"], Query.audio(sounds["target"]))
            named = improvement(separator, sounds["mixture"], sounds["target"], Query.label(row.label))
            sdri, ideal = row.values["sdri_db"], row.values["ideal_ratio_mask_sdri_db"]
            cells = [str(first + place + 1), row.label, row.facts["beside"]]
            cells += [f"{value:.1f}" for value in (sdri, ideal, own, named)]
            cells += [f"{row.values['presence']:.2f}", cause(sdri, ideal, own, named)]
            lines.append(f"| {' | '.join(cells)} |")
            for axes, name in zip(grid[place], ("mixture", "target", "estimate", "query"), strict=True):
                title = f"{first + place + 1} {name}"
                if name == "mixture":  # a class beside another is too long for every column
                    title = f"{title}: {row.label}, {row.facts['beside']}"[:36]
                draw(axes, sounds[name], title)
        sheet.savefig(folder / f"worst-{first // ON_A_SHEET + 1}.png")
    (folder / "worst.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
