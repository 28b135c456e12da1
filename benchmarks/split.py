"""What `querysep split` finds and how well it separates it: scenes of two or three sounds from the test side.

    python benchmarks/split.py DATA [--model NAME|DIR] [--scenes 60] [--seed 5] [--threshold 0.4] [--level 3]

In a scene of 6 to 10 s each sound is placed by chance, all at equal energy; no two classes are kinds of each other. A
source is found where a stem of its own class, or of one above or below it, is found; other stems are false. The first
table has what is found at several thresholds; the second the SDR improvement of the stems of found sources: by what
they are asked with, how overlapping masks share the mixture ("in turn": the surest first, each takes what is left; it
is what querysep does, with labels and the gate), and whether stems are closed while nothing is heard ("gate").
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.data.clips import read_clip
from querysep.data.ontology import audioset
from querysep.detection.windows import PresenceMap, PresenceStream
from querysep.dsp.mixing import place
from querysep.dsp.stft import istft, stft
from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.evaluation.metrics.signal import snr_db
from querysep.evaluation.protocols.open_mixtures import SAMPLE_RATE, OpenMixtures
from querysep.io.mixture_source import MixtureSource
from querysep.model import Model, load_model
from querysep.pipeline.found_classes import FoundGroup, check_level, found_groups, group_of
from querysep.pipeline.split_parts import Part, TimeGate, arranged, clearest_span, hear_clearest, named_vectors
from querysep.queries.examples import Ear
from querysep.types import Audio

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
SHARES: dict[str, Callable[[Tensor], Tensor]] = {
    "no sharing": lambda m: m,
    "in turn": lambda m: m.cumsum(dim=0).clamp(max=1.0).diff(dim=0, prepend=torch.zeros_like(m[:1])),
    "m / max(1, sum m)": lambda m: m / m.sum(dim=0, keepdim=True).clamp(min=1.0),
    "m m / sum m": lambda m: m * m / m.sum(dim=0, keepdim=True).clamp(min=1e-6),
    "m^3 / sum m^2": lambda m: m**3 / m.square().sum(dim=0, keepdim=True).clamp(min=1e-6),
}


@dataclass(frozen=True)
class Scene:
    """Sounds and their classes."""

    waves: list[NDArray[np.float32]]
    labels: list[str]


def scenes(folder: Path, count: int, seed: int) -> Iterator[Scene]:
    """Draw scenes; scene i is the same for one seed."""
    mixtures = OpenMixtures(folder / "manifest.jsonl", seed)
    by_class = {label: [mixtures.clips[index] for index in indices] for label, indices in mixtures.seen.items()}
    names, known = list(by_class), audioset()
    for index in range(count):
        rng = np.random.default_rng([seed, 11, index])
        time, wanted = int(rng.integers(6 * SAMPLE_RATE, 10 * SAMPLE_RATE)), int(rng.integers(2, 4))
        waves: list[NDArray[np.float32]] = []
        labels: list[str] = []
        while len(waves) < wanted:
            clips = by_class[names[rng.integers(len(names))]]
            clip = clips[rng.integers(len(clips))]
            if any(known.related(clip.labels[0], other) for other in labels):
                continue
            sound = read_clip(folder / clip.path, SAMPLE_RATE).astype(np.float32) / 32768.0
            wave = place(sound[: int(rng.integers(2, 7)) * SAMPLE_RATE], time, rng, repeat_share=0.0)
            energy = float(np.square(wave, dtype=np.float64).mean())
            if energy > 1e-9:
                waves.append(wave * np.float32(np.sqrt(1e-3 / energy)))
                labels.append(clip.labels[0])
        yield Scene(waves, labels)


def belongs(group: FoundGroup, label: str, level: int) -> bool:
    """Say whether a stem is of a source's class, or of one above or below it."""
    known = audioset()
    return known.related(group.label, group_of(label, check_level(level), known))


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with manifest.jsonl")
    parser.add_argument("--model", default="default")
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--threshold", type=float, default=0.4)
    parser.add_argument("--level", type=int, default=3)
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    model, level = load_model(given.model, "cpu"), check_level(given.level)
    found: dict[float, list[tuple[int, int, int]]] = defaultdict(list)
    gains: dict[str, list[float]] = defaultdict(list)
    for scene in scenes(given.data, given.scenes, given.seed):
        mixture: NDArray[np.float32] = np.stack(scene.waves).sum(axis=0)
        stream = PresenceStream(model.detector)
        stream.push(mixture)
        presence = stream.finish()
        for threshold in THRESHOLDS:
            groups = found_groups(presence, model.labels, level, threshold, calibration=model.events)
            hits = sum(any(belongs(group, label, given.level) for group in groups) for label in scene.labels)
            false = sum(not any(belongs(group, one, given.level) for one in scene.labels) for group in groups)
            found[threshold].append((hits, len(scene.waves), false))
        groups = found_groups(presence, model.labels, level, given.threshold, calibration=model.events)[:8]
        groups.sort(key=lambda group: -max(event.score for event in group.events))
        for name, values in _gains(model, scene, mixture, groups, presence, given.level).items():
            gains[name] += values
    print("| threshold | sources found | false stems in a scene |\n| --: | --: | --: |")
    for threshold, rows in found.items():
        hits, sources, false = np.sum(rows, axis=0)
        print(f"| {threshold:g} | {100 * hits / sources:.0f} % | {false / len(rows):.2f} |")
    print("\n| stems | found sources | SDRi, dB | 95 % interval |\n| --- | --: | --: | --- |")
    for name, values in gains.items():
        low, high = bootstrap_interval(np.array(values))
        print(f"| {name} | {len(values)} | {np.mean(values):.2f} | {low:.2f} to {high:.2f} |")


def _gains(
    model: Model,
    scene: Scene,
    mixture: NDArray[np.float32],
    groups: list[FoundGroup],
    presence: PresenceMap,
    level: int,
) -> dict[str, list[float]]:
    """Return for every way the SDR improvements of the sources that were found."""
    config = model.separator.config
    spectrum = stft(torch.from_numpy(mixture)[None], config.n_fft, config.hop)
    ear = Ear(model.detector, model.device, MixtureSource(Audio(mixture[None], SAMPLE_RATE)).read_span)
    asked: dict[str, list[tuple[FoundGroup, Tensor]]] = defaultdict(list)
    for group in groups:
        heard = hear_clearest(clearest_span(group, [one for one in groups if one is not group], presence), ear)
        named = named_vectors(group, model.labels, model.label_bank)
        if heard is None or named is None:
            continue
        for way, vectors in (("label", named), ("span", heard[None]), ("label and span", (named + heard) / 2)):
            asked[way].append((group, vectors))
    results: dict[str, list[float]] = defaultdict(list)
    for way, pairs in asked.items():
        parts = [Part(group, vectors, None) for group, vectors in pairs]
        gate = TimeGate(parts, presence.frame_s, config.hop, config.sample_rate)
        vectors, rule = arranged(parts)
        rule = replace(rule, shared=False)
        masks = model.separator.mask_of_magnitude(spectrum.abs().expand(len(vectors), -1, -1), vectors)[None, :, None]
        gains = gate(0, torch.from_numpy(mixture)[None], masks[0], torch.zeros(len(vectors)))[None, :, None, None, :]
        for gated, opened in (("", masks), (", gate", masks * gains)):
            wanted = rule(opened)[0, :, 0]
            for share, shared in SHARES.items():
                if way != "label" and share != "in turn":
                    continue
                stems = istft(spectrum * shared(wanted), config.n_fft, config.hop, len(mixture)).numpy()
                for wave, label in zip(scene.waves, scene.labels, strict=True):
                    own = [stem for part, stem in zip(parts, stems, strict=True) if belongs(part.group, label, level)]
                    if own:
                        best = max(snr_db(wave, stem) for stem in own)
                        results[f"{way}, {share}{gated}"].append(best - snr_db(wave, mixture))
    return results


if __name__ == "__main__":
    main()
