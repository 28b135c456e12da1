"""What --not gains: SDR improvement on mixtures of three sounds, of which the third is easily taken for the wanted one.

    python benchmarks/not_queries.py DATA [--model NAME|DIR] [--mixtures 150] [--seed 3]

The wanted class and the third are kin: in the ontology they share a parent or grandparent that is not one of its widest
groups (flute and trumpet, sheep and cow, rain and steam). Queries come from other recordings than the mixtures. Each
rule for the masks (m: wanted, n: unwanted; o: odds of a mask, m / (1 - m)) is measured with the third in the mixture,
and without it ("not there": what asking in vain costs). "rule" is the one that querysep uses; "gated" adds what it does
with a calibrated model: the unwanted mask is closed where its presence score is low. "away by a" changes no mask but
the wanted condition v, by the unwanted u: v + a (v - u).
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.data.clips import read_clip
from querysep.data.manifest import Clip
from querysep.data.ontology import audioset
from querysep.dsp.mixing import place
from querysep.dsp.stft import istft, stft
from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.evaluation.metrics.signal import snr_db
from querysep.evaluation.protocols.open_mixtures import SAMPLE_RATE, OpenMixtures
from querysep.model import load_model
from querysep.pipeline.presence import PresenceGate
from querysep.queries.examples import Ear
from querysep.queries.query import Query
from querysep.queries.resolve import resolve
from querysep.separation.mask_rule import MaskRule
from querysep.types import Audio

WIDEST = {
    "Channel, environment and background",
    "Human sounds",
    "Music",
    "Natural sounds",
    "Sounds of things",
    "Source-ambiguous sounds",
}
USED = "rule: m m/(m + n(1 - m))"
RULES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "without --not": lambda m, n: m,
    USED: lambda m, n: MaskRule(((0,),), (1,))(torch.stack((m, n), dim=1)[:, :, None])[:, 0, 0],
    "m^2, n ignored": lambda m, n: m * m,
    "m (1 - n)": lambda m, n: m * (1 - n),
    "m m/(m + n)": lambda m, n: m * m / (m + n + 1e-6),
    "m m^2/(m^2 + n^2)": lambda m, n: m**3 / (m**2 + n**2 + 1e-6),
    "m (1 - n/2(m + n))": lambda m, n: m * (1 - 0.5 * n / (m + n + 1e-6)),
    "m m/(m + 3n(1 - m))": lambda m, n: m * m / (m + 3 * n * (1 - m) + 1e-6),
    "max(0, m - n/2)": lambda m, n: (m - n / 2).clamp(min=0),
    "m 3m/(3m + n)": lambda m, n: m * _share(3 * m, n),
    "m 3o_m/(3o_m + o_n)": lambda m, n: m * _share(3 * _odds(m), _odds(n)),
    "m o_m/(o_m + o_n)": lambda m, n: m * _share(_odds(m), _odds(n)),
    "m sqrt(o_m)/(sqrt(o_m) + sqrt(o_n))": lambda m, n: m * _share(_odds(m).sqrt(), _odds(n).sqrt()),
}
GATED = "rule, gated"
AWAY = {f"away by {step:g}{more}": (step, more) for step in (0.25, 0.5) for more in ("", ", rule")}


def _odds(mask: Tensor) -> Tensor:
    return mask / (1 - mask).clamp(min=1e-4)


def _share(one: Tensor, other: Tensor) -> Tensor:
    return one / (one + other).clamp(min=1e-6)


@dataclass(frozen=True)
class Three:
    """Waves of equal energy, the wanted one first and its kin last; examples of these two from other recordings."""

    waves: list[NDArray[np.float32]]
    query: Audio
    not_query: Audio


class Kin:
    """Draws mixtures from the test side of a data set; mixture i is the same for one seed."""

    def __init__(self, data: Path, seed: int) -> None:
        drawn = OpenMixtures(data, seed)
        self._folder, self._seed = data, seed
        classes = drawn.seen | drawn.held_out
        self._clips = {label: [drawn.clips[index] for index in indices] for label, indices in classes.items()}
        self._kin = {label: [other for other in self._clips if self._are_kin(label, other)] for label in self._clips}

    def draw(self, count: int) -> Iterator[Three]:
        """Yield mixtures."""
        for index in range(count):
            rng = np.random.default_rng([self._seed, 77, index])
            while (three := self._try(rng)) is None:
                pass
            yield three

    def _try(self, rng: np.random.Generator) -> Three | None:
        labels = list(self._clips)
        heads = [label for label in labels if self._kin[label]]
        first = heads[rng.integers(len(heads))]
        third = self._kin[first][rng.integers(len(self._kin[first]))]
        second = labels[rng.integers(len(labels))]
        if any(self._related(second, one) or second in self._kin[one] for one in (first, third)):
            return None
        clips = [self._clips[label][rng.integers(len(self._clips[label]))] for label in (first, second, third)]
        time = int(rng.integers(2 * SAMPLE_RATE, 4 * SAMPLE_RATE))
        waves = [place(self._read(clip), time, rng, repeat_share=0.0) for clip in clips]
        energies = [float(np.square(wave, dtype=np.float64).mean()) for wave in waves]
        if min(energies) < 1e-9:
            return None
        level = [wave * np.float32(np.sqrt(energies[0] / own)) for wave, own in zip(waves, energies, strict=True)]
        return Three(level, *(Audio(self._read(self._other(clips[place], rng))[None], SAMPLE_RATE) for place in (0, 2)))

    def _other(self, clip: Clip, rng: np.random.Generator) -> Clip:
        same = self._clips[clip.labels[0]]
        others = [one for one in same if one.origin != clip.origin] or [one for one in same if one.path != clip.path]
        return others[rng.integers(len(others))]

    def _read(self, clip: Clip) -> NDArray[np.float32]:
        return read_clip(self._folder / clip.path, SAMPLE_RATE).astype(np.float32) / 32768.0

    @staticmethod
    def _related(first: str, second: str) -> bool:
        return audioset().related(first, second)

    def _are_kin(self, first: str, second: str) -> bool:
        return not self._related(first, second) and bool((_near(first) & _near(second)) - WIDEST)


def _near(label: str) -> set[str]:
    """The class, its parents and grandparents."""
    known = audioset()
    parents = set(known.parents(label)) if label in known else set()
    return {label} | parents | {above for parent in parents for above in known.parents(parent)}


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with manifest.jsonl")
    parser.add_argument("--model", default="default")
    parser.add_argument("--mixtures", type=int, default=150)
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    model = load_model(given.model, "cpu")
    config, ear = model.separator.config, Ear(model.detector, model.device)
    gains: dict[str, dict[str, list[float]]] = {case: defaultdict(list) for case in ("there", "not there")}
    for three in Kin(given.data, given.seed).draw(given.mixtures):
        conditions = resolve([Query.audio(three.query), Query.audio(three.not_query)], ear)
        vectors = torch.cat([condition.vectors for condition in conditions])
        for case, waves in (("there", three.waves), ("not there", three.waves[:2])):
            mixture: NDArray[np.float32] = np.stack(waves).sum(axis=0)
            spectrum = stft(torch.from_numpy(mixture)[None], config.n_fft, config.hop)
            steps = torch.stack([vectors[0] + step * (vectors[0] - vectors[1]) for step, _ in AWAY.values()])
            asked = torch.cat((vectors, steps))
            heard = model.separator.listen(spectrum.abs())
            every = [one.expand(len(asked), *one.shape[1:]) for one in heard]
            wanted, unwanted, *away = model.separator.answer(every, asked, spectrum.shape[-1])[:, None]
            before = snr_db(waves[0], mixture)
            masks = {name: rule(wanted, unwanted) for name, rule in RULES.items()}
            for (name, (_, more)), mask in zip(AWAY.items(), away, strict=True):
                masks[name] = RULES[USED](mask, unwanted) if more else mask
            if model.presence is not None:
                gate = PresenceGate(model, vectors, torch.cat([condition.profiles for condition in conditions]))
                logits = model.separator.presence_logits(heard, vectors)
                matches = torch.zeros(2) if logits is None else logits[0]
                opened = gate(0, torch.from_numpy(mixture)[None], torch.stack((wanted, unwanted)), matches)
                masks[GATED] = RULES[USED](wanted, unwanted * opened[1])
            for name, mask in masks.items():
                target = istft(spectrum * mask, config.n_fft, config.hop, len(mixture))[0].numpy()
                gains[case][name].append(snr_db(waves[0], target) - before)
    _print(gains)


def _print(gains: dict[str, dict[str, list[float]]]) -> None:
    print("| mask | SDRi, dB | gain, 95 % interval | lost over 0.1 dB | not there: SDRi | cost |")
    print("| --- | --: | --- | --: | --: | --: |")
    for name in gains["there"]:
        there, in_vain = (np.array(gains[case][name]) for case in gains)
        gained, cost = (
            values - np.array(gains[case]["without --not"])
            for case, values in zip(gains, (there, in_vain), strict=True)
        )
        low, high = bootstrap_interval(gained)
        print(
            f"| {name} | {there.mean():.2f} | {gained.mean():+.2f} ({low:+.2f} to {high:+.2f}) "
            f"| {100 * (gained < -0.1).mean():.0f} % | {in_vain.mean():.2f} | {cost.mean():+.2f} |"
        )


if __name__ == "__main__":
    main()
