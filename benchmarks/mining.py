"""How fast mining hears clips, each alone and together; and which definition of purity tells a second sound best.

python benchmarks/mining.py DATA [--detector DIR] [--clips 300]      (default: the bundled detector)

DATA is a data set of any layout. The first line is a rate of the detector's passes, with the median ratio. The table is
the chance that a clip alone is purer than one with a clip of another class mixed in (AUC), for three levels of that.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import querysep
from querysep.anchors.relations import Relations, relations_of
from querysep.data.formats.data_set import OpenedRecordings, open_recordings
from querysep.detection.windows import PresenceStream, embed, embed_together, hear
from querysep.model import TrainedDetector, load_detector

BUNDLED = Path(querysep.__file__).parent / "assets" / "models" / "default"
ROUNDS, PER_ROUND = 5, 32
LEVELS_DB = (10.0, 5.0, 0.0)  # of the clip above the one that is mixed in

Track = NDArray[np.float32]  # presence of the class, shape (frame,)
Others = NDArray[np.float32]  # of the unrelated classes, shape (class, frame)
DEFINITIONS: dict[str, Callable[[Track, Others], float]] = {
    "product of 1 - presence": lambda own, others: float(np.prod(1 - others.mean(axis=1))),
    "score / (score + sum)": lambda own, others: float(own.mean() / (own.mean() + others.mean(axis=1).sum())),
    "score / (score + largest)": lambda own, others: float(own.mean() / (own.mean() + others.max(axis=0).mean())),
    "1 - largest": lambda own, others: float(1 - others.max(axis=0).mean()),
    "score": lambda own, others: float(own.mean()),
}


def measure_rate(opened: OpenedRecordings, detector: TrainedDetector, rng: np.random.Generator) -> None:
    """Print clips per second, alone and together, in turns."""
    network, alone_s, together_s = detector.network, [], []
    for _ in range(ROUNDS):
        chosen = rng.choice(len(opened.clips), PER_ROUND, replace=False)
        waves = [np.divide(opened.read(int(index)), 32768, dtype=np.float32) for index in chosen]
        cuts = [wave[: 2 * opened.sample_rate] for wave in waves]
        start = time.perf_counter()
        for wave, cut in zip(waves, cuts, strict=True):
            stream = PresenceStream(network)
            stream.push(wave)
            stream.finish()
            embed(network, torch.from_numpy(cut[None]))
        alone_s.append(time.perf_counter() - start)
        start = time.perf_counter()
        heard = hear(network, waves)
        rest = [
            cut for cut, wave, one in zip(cuts, waves, heard, strict=True) if one.latent is None or len(cut) < len(wave)
        ]
        embed_together(network, rest)
        together_s.append(time.perf_counter() - start)
    ratio = statistics.median(one / other for one, other in zip(alone_s, together_s, strict=True))
    rates = [PER_ROUND / statistics.median(times) for times in (alone_s, together_s)]
    print(f"alone {rates[0]:.1f} clips/s, together {rates[1]:.1f} clips/s, ratio {ratio:.2f}")


def draw_mixtures(
    opened: OpenedRecordings, detector: TrainedDetector, relations: Relations, count: int, rng: np.random.Generator
) -> list[tuple[str, list[NDArray[np.float32]]]]:
    """Return the class and 2 seconds of clips, each alone and with a clip of an unrelated class at ``LEVELS_DB``."""
    by_class: dict[str, list[int]] = {}
    for index, clip in enumerate(opened.clips):
        if clip.labels[0] in detector.labels and clip.duration_s >= 1.0:
            by_class.setdefault(clip.labels[0], []).append(index)
    found: list[tuple[str, list[NDArray[np.float32]]]] = []
    while len(found) < count:
        names = [str(name) for name in rng.choice(sorted(by_class), 2, replace=False)]
        own, other = (
            np.resize(
                np.divide(opened.read(int(rng.choice(by_class[name]))), 32768, dtype=np.float32), 2 * opened.sample_rate
            )
            for name in names
        )
        levels = [float(np.sqrt(np.square(wave).mean())) for wave in (own, other)]
        if relations.related(*names) or min(levels) < 1e-4:
            continue
        gains = [levels[0] / levels[1] * 10 ** (-level_db / 20) for level_db in LEVELS_DB]
        found.append((names[0], [own, *(own + np.float32(gain) * other for gain in gains)]))
    return found


def measure_purity(opened: OpenedRecordings, detector: TrainedDetector, count: int, rng: np.random.Generator) -> None:
    """Print how well each definition tells clips alone from those with a second one."""
    relations = relations_of(clip.labels for clip in opened.clips)
    values: dict[str, list[list[float]]] = {name: [] for name in DEFINITIONS}
    for label, waves in draw_mixtures(opened, detector, relations, count, rng):
        unrelated = np.array([not relations.related(label, other) for other in detector.labels])
        maps = [heard.presence.framewise for heard in hear(detector.network, waves)]
        for name, purity in DEFINITIONS.items():
            own = detector.labels.index(label)
            values[name].append([purity(framewise[own], framewise[unrelated]) for framewise in maps])
    print(f"{count} clips; AUC with the second clip at " + ", ".join(f"-{level:g} dB" for level in LEVELS_DB))
    for name, rows in values.items():
        alone, *mixed = np.array(rows).T
        aucs = [float((alone[:, None] > one[None]).mean() + (alone[:, None] == one[None]).mean() / 2) for one in mixed]
        print(f"{name:26}" + "  ".join(f"{auc:.2f}" for auc in aucs))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--detector", type=Path, default=BUNDLED)
    parser.add_argument("--clips", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    detector = load_detector(options.detector)
    opened = open_recordings(options.data, detector.network.config.sample_rate)
    measure_rate(opened, detector, rng)
    measure_purity(opened, detector, options.clips, rng)


if __name__ == "__main__":
    main()
