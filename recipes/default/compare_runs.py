"""Compare separators of one anchor catalog: python compare_runs.py ANCHORS RUN... [--count N] [--split S].

Each run is the folder of a `querysep train separator`; its averaged weights at the end count. A bundled model's name,
or a folder with weights, may stand for one. All separate the same mixtures of the validation side, 2 s each (or of the
training side, which shows how much a run has overfitted). The other runs are compared with the first, mixture by
mixture. Prints a table, whose columns experiments/README.md explains.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from networks import builder_of
from numpy.typing import NDArray
from pydantic import TypeAdapter

from querysep.anchors.catalog import Catalog, read_catalog
from querysep.data.manifest import Split
from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.model import load_model
from querysep.separation.config import SeparatorConfig
from querysep.separation.network import SeparatorNetwork
from querysep.training.config import SeparatorTraining
from querysep.training.mixtures import MixtureBatch, Mixtures
from querysep.training.run_folder import read_run
from querysep.training.sampler import SAMPLERS
from querysep.training.separator import validation_figures

FLOOR_DB = 40.0  # an error further below the mixture counts as one so far below it
SILENT_DB = 0.05  # a result that changes the error by less is silent
PLAIN: dict[str, object] = {"mixing": "paper", "own_query_share": 0.0, "absent_share": 0.0, "queries": 1, "seed": 11}
KINDS: dict[str, dict[str, object]] = {
    "two sources": PLAIN,
    "own query": PLAIN | {"own_query_share": 1.0},
    "three sources": PLAIN | {"mixing": "random", "gain_db": 0.0, "sources": (0, 1, 0)},
    "speech, music": PLAIN | {"pairs": [("Speech", "Music")], "pair_share": 1.0},
    "four instruments": PLAIN
    | {
        "mixing": "random",
        "gain_db": 0.0,
        "sources": (0, 0, 1),
        "pairs": [("Musical instrument", "Musical instrument")],
        "pair_share": 1.0,
    },
    "alone": PLAIN | {"alone_share": 1.0},
}


def averaged(run: Path) -> tuple[SeparatorNetwork, int, float]:
    """Return a run's averaged network, its steps, and its minutes (0 where they are not known)."""
    stored = read_run(run)
    if stored is None:
        return load_model(str(run), "cpu").separator, 0, 0.0
    network = builder_of(run)(TypeAdapter(SeparatorConfig).validate_python(stored.network))
    checkpoint = torch.load(run / "last.ckpt", map_location="cpu", weights_only=True)
    prefix = "averaged.module."
    weights = {
        name.removeprefix(prefix): value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)
    }
    network.load_state_dict(weights)
    return network.eval(), int(checkpoint["global_step"]), float(checkpoint["elapsed_s"]) / 60.0


@torch.inference_mode()
def improvements_db(network: SeparatorNetwork, mixtures: Sequence[MixtureBatch]) -> NDArray[np.float64]:
    """Return for each mixture and query how far the error lies below that of the mixture as the result, dB.

    In a mixture of several sounds this is the SDR improvement. For a sound alone it is the SNR, and for an absent one
    how far the result lies below the mixture.
    """
    found = []
    for batch in mixtures:
        segments = batch.segments()
        mixture = segments.sum(dim=1, keepdim=True)
        targets = segments[:, :2] * batch.wanted[:, :, None]
        estimates = network(mixture.repeat_interleave(2, dim=0), batch.conditions.flatten(0, 1))
        estimates = estimates[:, 0].unflatten(0, (-1, 2))
        before = (mixture - targets).square().sum(dim=-1)
        energy = mixture.square().sum(dim=-1)
        before = torch.where(before < 1e-6 * energy, energy, before)  # alone: the mixture is the target
        after = (estimates - targets).square().sum(dim=-1).clamp(min=10.0 ** (-FLOOR_DB / 10.0) * energy)
        found.append(10.0 * torch.log10(before / after))
    return torch.cat(found).double().numpy()


def main(anchors: str, runs: Sequence[Path], count: int, split: Split) -> None:
    """Print the table."""
    catalog: Catalog = read_catalog(anchors)
    print(f"| run | steps | minutes | {' | '.join(KINDS)} | absent | missed | against the first | presence AUC |")
    print(f"| --- {'| --: ' * (len(KINDS) + 6)}|")
    reference: NDArray[np.float64] | None = None
    for run in runs:
        network, steps, minutes = averaged(run)
        cells, own = [], ""
        absent = missed = float("nan")
        for kind, settings in KINDS.items():
            training = SeparatorTraining.model_validate(settings)
            sampler = SAMPLERS[training.mixing](catalog, training, split, None)
            mixtures = Mixtures(sampler).first(count)
            values = improvements_db(network, mixtures)
            there = torch.cat([batch.wanted for batch in mixtures]).numpy() > 0
            cells.append(f"{values[there].mean():.2f}")
            if kind == "alone":
                absent = float(values[~there].mean())
            if kind == "two sources":
                pairs = values.mean(axis=1)
                missed = float((np.abs(values) < SILENT_DB).mean())
                reference = pairs if reference is None else reference
                low, high = bootstrap_interval(pairs - reference)
                own = f"{(pairs - reference).mean():+.2f} ({low:+.2f} to {high:+.2f})"
                figures = validation_figures(network, mixtures, sampler.relations)
                auc = figures.get("validation_presence_auc", float("nan"))
        row = [run.name, str(steps), f"{minutes:.0f}", *cells, f"{absent:.1f}", f"{missed:.1%}", own, f"{auc:.3f}"]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("anchors")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--count", type=int, default=400, help="mixtures of each kind")
    parser.add_argument("--split", choices=("validation", "train"), default="validation", help="side of the mixtures")
    given = parser.parse_args()
    main(given.anchors, given.runs, given.count, given.split)
