"""Whether the presence score tells present from absent sounds, and what silencing absent ones does.

    python benchmarks/presence.py DATA [--model NAME|DIR] [--mixtures 150] [--seed 9]

Mixtures of one to three sounds of the test side, 2 to 8 s; each is asked for all of its sounds and for as many
that are not in it, by other recordings and by labels. The calibration was fitted on the validation side. "bare" is
the score of a model without one: how much of the query's classes the detector hears. Levels are over the mixture's.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch

from querysep.data.formats.data_set import open_recordings
from querysep.errors import QueryError
from querysep.evaluation.calibration import PresenceMixtures, auc
from querysep.evaluation.metrics.classification import calibration_error
from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.evaluation.metrics.signal import snr_db
from querysep.pipeline import Separator
from querysep.pipeline.presence import coverage, hear_windows
from querysep.queries.examples import Ear
from querysep.queries.resolve import resolve
from querysep.types import Audio, FloatArray


def level_db(part: FloatArray, whole: FloatArray) -> float:
    """Return the energy of a part over that of the whole, at least -100 dB."""
    energies = [float(np.square(one, dtype=np.float64).sum()) for one in (part, whole)]
    return 10 * float(np.log10(max(energies[0] / energies[1], 1e-10)))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with manifest.jsonl")
    parser.add_argument("--model", default="default")
    parser.add_argument("--mixtures", type=int, default=150)
    parser.add_argument("--seed", type=int, default=9)
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    separator = Separator.load(given.model, "cpu")
    model, rate = separator.model, separator.model.detector.config.sample_rate
    names = () if model.label_bank is None else [row.label for row in model.label_bank.rows]
    drawn = PresenceMixtures(open_recordings(given.data, rate, split="test"), "test", names, given.seed)
    ear = Ear(model.detector, model.device)
    rows: dict[str, list[float]] = defaultdict(list)
    for mixture in drawn.draw(given.mixtures):
        sound, heard = Audio(mixture.wave[None], rate), hear_windows(model.detector, torch.from_numpy(mixture.wave))
        for trial in mixture.trials:
            try:
                profile = resolve([trial.query], ear, model.label_bank)[0].profiles[0]
                gated, kept = (separator.separate(sound, trial.query, keep_absent=keep) for keep in (False, True))
            except QueryError:
                continue
            rows["present"].append(trial.wave is not None)
            rows["score"].append(gated.presence)
            rows["bare"].append(coverage(profile, heard.framewise))
            rows["by label"].append(trial.query.kind == "label")
            for name, result in (("gated", gated), ("kept", kept)):
                target = result.target.samples[0]
                rows[f"level {name}"].append(level_db(target, mixture.wave))
                gain = np.nan
                if trial.wave is not None and not np.array_equal(trial.wave, mixture.wave):
                    gain = snr_db(trial.wave, target) - snr_db(trial.wave, mixture.wave)
                rows[f"SDRi {name}"].append(gain)
    _print({name: np.array(values) for name, values in rows.items()})


def _print(rows: dict[str, "np.ndarray"]) -> None:
    present, asked = rows["present"].astype(bool), rows["by label"].astype(bool)
    print("| score | AUC | by example | by label | ECE |\n| --- | --: | --: | --: | --: |")
    for name in ("bare", "score"):
        scores = rows[name]
        parts = [auc(present[chosen], scores[chosen]) for chosen in (present | True, ~asked, asked)]
        print(f"| {name} | " + " | ".join(f"{one:.3f}" for one in parts), end="")
        print(f" | {calibration_error(scores[present], scores[~present], bins=10):.3f} |")
    print("\n| | absent: mean level, dB | absent below -40 dB | present: mean level, dB | present: SDRi, dB | lost |")
    print("| --- | --: | --: | --: | --: | --: |")
    two = present & ~np.isnan(rows["SDRi kept"])
    for name in ("kept", "gated"):
        level, gain = rows[f"level {name}"], rows[f"SDRi {name}"]
        low, high = bootstrap_interval(gain[two] - rows["SDRi kept"][two])
        print(
            f"| {name} | {level[~present].mean():.1f} | {100 * (level[~present] < -40).mean():.0f} % "
            f"| {level[present].mean():.1f} | {gain[two].mean():.2f} | {low:+.2f} to {high:+.2f} |"
        )
    closed = rows["level gated"] < rows["level kept"] - 20
    print(
        f"\n{len(present)} queries; silenced by 20 dB or more: {100 * closed[present].mean():.1f} % of the present ones"
    )


if __name__ == "__main__":
    main()
