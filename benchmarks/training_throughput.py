"""What a step of the separator's training takes, and how much of it the mixer; against the authors' way.

python benchmarks/training_throughput.py [--preset default] [--batch 12] [--rounds 7] [--threads 1] [--device cpu]
                                        [--bfloat16] [--scenes]

Both ways train the same separator on mixtures with both queries, from sound in memory: ours plans mixtures from a
catalog, with the recipe's speeds, colors and rooms, and renders them where the network is; the authors' way takes
10-second clips, runs the detector to find the anchors, cuts them, and runs the detector on them for the conditions. The
two take turns; a line for each with the medians, then the mixer's share of our step, and the ratio of the two.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device
from numpy.typing import NDArray

from querysep.anchors.catalog import Anchor, Catalog, CatalogFacts
from querysep.anchors.choice import MiningSettings, choose
from querysep.detection.build import build_detector
from querysep.detection.network import DetectorNetwork
from querysep.detection.windows import embed, hear
from querysep.dsp.mixing import Play, Playback
from querysep.model import load_preset
from querysep.separation.build import build_separator
from querysep.training.config import SeparatorTraining
from querysep.training.mixtures import MixtureBatch, Mixtures
from querysep.training.muon import Muon
from querysep.training.sampler import MixtureSampler
from querysep.training.separator import SeparatorModule

CLIPS, CLIP_S, CLASSES = 96, 10, 8
RECIPE: dict[str, Any] = {"sources": (0.65, 0.2, 0.15), "alone_share": 0.12, "room_share": 0.4, "query_noise": 0.3}
SCENES: dict[str, Any] = {
    "scene_share": 1.0,
    "bed_classes": ("class 0", "class 1"),
    "band_limit_share": 0.2,
    "clipping_share": 0.05,
    "codec_share": 0.03,
}


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

    def __init__(self, clips: NDArray[np.int16], network: DetectorNetwork, batch: int) -> None:
        self._clips, self._network, self._batch = clips, network, batch
        self._rng = np.random.default_rng(0)

    def __call__(self) -> MixtureBatch:
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
        rows, time = 2 * self._batch, segments.shape[1]
        return MixtureBatch(
            segments,
            Playback.of([Play(time)] * rows),
            torch.arange(rows).reshape(-1, 2).T.flatten(),
            torch.zeros(self._batch, 2),
            None,
            torch.stack((latents[: self._batch], latents[self._batch :]), dim=1),
            torch.ones(self._batch, 2),
            torch.zeros(0, 4, dtype=torch.long),
            time,
            rate,
        )


class Drawn:
    """Batches from a catalog."""

    def __init__(self, catalog: Catalog, batch: int, settings: dict[str, Any]) -> None:
        training = SeparatorTraining.model_validate({"batch_size": batch, **RECIPE, **settings})
        self._mixtures = Mixtures(MixtureSampler(catalog, training))
        self._batch, self._next = batch, 0

    def __call__(self) -> MixtureBatch:
        """Return the next mixtures."""
        self._next += self._batch
        return self._mixtures.batch(range(self._next - self._batch, self._next))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--batch", type=int, default=12, help="mixtures per step")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bfloat16", action="store_true", help="as with --set precision=bfloat16")
    parser.add_argument("--scenes", action="store_true", help="ours makes scenes, some of them degraded, and no pairs")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    shape = load_preset(options.preset)
    network = build_detector(shape.detector).eval()
    clips = make_clips(shape.detector.sample_rate)
    separator = build_separator(shape.separator).to(options.device)
    separator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
    module = SeparatorModule(separator, SeparatorTraining()).to(options.device)
    optimizer = Muon(separator.parameters(), 1e-4, 0.0)
    catalog = make_catalog(clips, shape.detector.sample_rate, shape.detector.latent_dim)
    ways: dict[str, Callable[[], MixtureBatch]] = {
        "catalog": Drawn(catalog, options.batch, SCENES if options.scenes else {}),
        "detector twice": TwiceDetected(clips, network, options.batch),
    }
    seconds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}

    def clock() -> float:
        if options.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    for _ in range(options.rounds + 1):
        for name, make in ways.items():
            start = clock()
            batch = move_data_to_device(make(), torch.device(options.device))
            made = clock()
            batch.segments()
            rendered = clock()
            optimizer.zero_grad()
            with torch.autocast(options.device, torch.bfloat16, enabled=options.bfloat16):
                loss = module.batch_loss(batch)
            loss.backward()
            optimizer.step()
            seconds[name].append((made - start, rendered - made, clock() - rendered))
    print(
        f"preset {options.preset}, {options.batch} mixtures a step, {options.threads} threads, {options.device}, "
        f"{'bfloat16' if options.bfloat16 else 'float32'}, {options.rounds} rounds"
    )
    totals = {}
    for name, times in seconds.items():
        counted = times[1:]  # the first round warms up
        totals[name] = [made + stepped for made, _, stepped in counted]
        made, mixed, stepped = (statistics.median(column) for column in zip(*counted, strict=True))
        rate = options.batch / statistics.median(totals[name])
        print(
            f"{name:15} batch {made:7.4f} s   step {stepped:7.4f} s, of it mixing {mixed:7.4f} s "
            f"({mixed / stepped:.1%})   {rate:6.2f} mixtures/s"
        )
    ratios = [theirs / ours for ours, theirs in zip(*totals.values(), strict=True)]
    print(f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
