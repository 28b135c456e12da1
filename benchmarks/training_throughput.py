"""Steps of the separator's training with anchors from a catalog, against the detector run twice in each step.

python benchmarks/training_throughput.py [--preset default] [--batch 12] [--rounds 7] [--threads 1]

Both ways train the same separator on mixtures of two anchors with both queries, from sound in memory: ours draws
mixtures from a catalog; the authors' way takes 10-second clips, runs the detector to find the anchors, cuts them, and
runs the detector on them for the conditions. The two take turns; a line for each with the medians, then the ratio.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.anchors.catalog import Anchor, Catalog, CatalogFacts
from querysep.anchors.choice import MiningSettings, choose
from querysep.detection.htsat import Htsat
from querysep.detection.windows import embed, hear
from querysep.dsp.mixing import mix_equal_energy
from querysep.model import load_preset
from querysep.separation.build import build_separator
from querysep.training.config import SeparatorTraining
from querysep.training.separator import SeparatorModule
from querysep.training.separator_items import SeparatorItems

CLIPS, CLIP_S, CLASSES = 96, 10, 8
Batch = tuple[Tensor, Tensor, Tensor]


def make_clips(sample_rate: int) -> NDArray[np.int16]:
    """Return noise that swells and dies away, shape (clip, time)."""
    rng = np.random.default_rng(0)
    time_s = np.arange(CLIP_S * sample_rate) / sample_rate
    clips = [
        rng.standard_normal(time_s.shape[0]) * 3000 * np.exp(-np.square(time_s - rng.uniform(0, 10)))
        for _ in range(CLIPS)
    ]
    return np.stack(clips).astype(np.int16)


def make_catalog(clips: NDArray[np.int16], sample_rate: int, latent_dim: int) -> Catalog:
    """Return a catalog with an anchor of each clip."""
    time = 2 * sample_rate
    anchors = [
        Anchor(
            label=f"class {number % CLASSES}",
            labels=(f"class {number % CLASSES}",),
            clip=str(number),
            origin=str(number),
            start_s=0.0,
            sounding=time,
            score=1.0,
            purity=1.0,
        )
        for number in range(len(clips))
    ]
    facts = CatalogFacts(
        sample_rate=sample_rate, segment_time=time, latent_dim=latent_dim, detector="none", settings="{}"
    )
    latents = np.random.default_rng(0).standard_normal((len(clips), latent_dim)).astype(np.float32)
    return Catalog(anchors, latents, np.ascontiguousarray(clips[:, :time]), facts)


class TwiceDetected:
    """Batches as the authors make them in each step."""

    def __init__(self, clips: NDArray[np.int16], network: Htsat, batch: int) -> None:
        self._clips, self._network, self._batch = clips, network, batch
        self._rng = np.random.default_rng(0)

    def __call__(self) -> Batch:
        """Draw clips, find their anchors, mix them in pairs, and embed them for the conditions."""
        rate, settings = self._network.config.sample_rate, MiningSettings()
        chosen = self._rng.choice(len(self._clips), 2 * self._batch, replace=False)
        waves = [self._clips[index].astype(np.float32) / 32768 for index in chosen]
        cuts = []
        for wave, heard in zip(waves, hear(self._network, waves, batch=2 * self._batch), strict=True):
            stretch = choose(heard.presence, int(self._rng.integers(CLASSES)), rate, settings)[0]
            cuts.append(torch.from_numpy(wave[stretch.first : stretch.end]))
        segments = torch.stack(cuts)
        latents = embed(self._network, segments).clone()
        mixed = mix_equal_energy(segments[: self._batch], segments[self._batch :])
        conditions = torch.stack((latents[: self._batch], latents[self._batch :]), dim=1)
        return torch.stack((mixed.first, mixed.second), dim=1), conditions, torch.ones(self._batch, 2)


class Drawn:
    """Batches from a catalog."""

    def __init__(self, catalog: Catalog, batch: int) -> None:
        self._items = SeparatorItems(catalog, SeparatorTraining(batch_size=batch, mixing="paper", absent_share=0.0))
        self._batch, self._next = batch, 0

    def __call__(self) -> Batch:
        """Return the next items."""
        rows = [self._items[index] for index in range(self._next, self._next + self._batch)]
        self._next += self._batch
        segments, conditions, wanted = (torch.stack(column) for column in zip(*rows, strict=True))
        return segments, conditions, wanted


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--batch", type=int, default=12, help="mixtures per step")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shape = load_preset(options.preset)
    network = Htsat(shape.detector).eval()
    clips = make_clips(shape.detector.sample_rate)
    module = SeparatorModule(build_separator(shape.separator), SeparatorTraining())
    optimizer = torch.optim.AdamW(module.network.parameters(), 1e-4)
    ways: dict[str, Callable[[], Batch]] = {
        "catalog": Drawn(make_catalog(clips, shape.detector.sample_rate, shape.detector.latent_dim), options.batch),
        "detector twice": TwiceDetected(clips, network, options.batch),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(options.rounds + 1):
        for name, make in ways.items():
            start = time.perf_counter()
            batch = make()
            made = time.perf_counter()
            optimizer.zero_grad()
            module.batch_loss(batch).backward()
            optimizer.step()
            seconds[name].append((made - start, time.perf_counter() - made))
    print(
        f"preset {options.preset}, {options.batch} mixtures a step, {options.threads} threads, {options.rounds} rounds"
    )
    totals = {}
    for name, times in seconds.items():
        counted = times[1:]  # the first round warms up
        totals[name] = [sum(pair) for pair in counted]
        made, stepped = (statistics.median(column) for column in zip(*counted, strict=True))
        rate = options.batch / statistics.median(totals[name])
        print(f"{name:15} batch {made:7.3f} s   step {stepped:7.3f} s   {rate:6.2f} mixtures/s")
    ratios = [theirs / ours for ours, theirs in zip(*totals.values(), strict=True)]
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
