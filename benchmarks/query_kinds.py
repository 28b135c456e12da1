"""What each way to ask gives: SDR improvement on mixtures of two sounds, and which examples are left out.

    python benchmarks/query_kinds.py DATA [--model NAME|DIR] [--mixtures 100] [--most-examples 100] [--seed 3]

Mixtures are drawn as by `querysep evaluate open`, of classes that training saw. Examples are training recordings
of the class; intruders are training recordings of other classes. "averaged" takes the mean of all of them, as the paper
does. Labels need a model with a label bank; their parent is the nearest that stands for three classes or more. Words
are phrases of the class from recipes/text/test_phrases.txt, drawn by chance; they need a model that knows words and
the extra 'text'.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.data.clips import read_clip
from querysep.data.manifest import Clip, read_manifest
from querysep.dsp.stft import istft, stft
from querysep.errors import QueryError
from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.evaluation.metrics.signal import snr_db
from querysep.evaluation.protocols.open_mixtures import SAMPLE_RATE, OpenMixtures, Stem
from querysep.model import Model, load_model
from querysep.queries.examples import Ear
from querysep.queries.labels import LabelBook
from querysep.queries.outliers import outliers
from querysep.queries.query import Query
from querysep.queries.resolve import resolve
from querysep.queries.text_training import parse_phrases
from querysep.types import Audio

TEST_PHRASES = Path(__file__).parents[1] / "recipes" / "text" / "test_phrases.txt"
GROUPS = ((1, 0), (3, 1), (5, 0), (5, 2), (20, 0), (20, 6), (100, 30))


class Askers:
    """Conditions for a class, made in every way."""

    def __init__(self, model: Model, folder: Path, seed: int, most: int) -> None:
        self._groups = [group for group in GROUPS if group[0] <= most]
        self._model, self._folder = model, folder
        self._ear = Ear(model.detector, model.device)
        self._rng, self._words_rng = np.random.default_rng(seed), np.random.default_rng(seed)
        self._phrases = parse_phrases(TEST_PHRASES.read_text(encoding="utf-8"))
        self._clips: dict[str, list[Clip]] = defaultdict(list)
        for clip in read_manifest(folder / "manifest.jsonl"):
            if clip.split == "train" and clip.duration_s >= 0.25:
                self._clips[clip.labels[0]].append(clip)
        self._vectors: dict[str, Tensor | None] = {}
        self.found: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)

    def vectors(self, label: str, other: str) -> dict[str, Tensor]:
        """Return vectors of shape (alternative, condition_dim) by name of the way; ``other`` is in the mixture too."""
        ways = {}
        for count, bad in self._groups:
            if len(self._clips[label]) < (count - bad):
                continue
            good = self._embed(self._clips[label], count - bad)
            others = [clip for one, clips in self._clips.items() if one != label for clip in clips]
            every = torch.stack(good + self._embed([c for c in others if label not in c.labels], bad))
            left_out = outliers(every)
            name = f"{count} example{'s' * (count > 1)}" + f", {bad} of them intruders" * bool(bad)
            ways[name] = every[~left_out].mean(dim=0, keepdim=True)
            if count > 1:
                ways[f"{name}, averaged"] = every.mean(dim=0, keepdim=True)
                self.found[count, bad].append((int(left_out[count - bad :].sum()), int(left_out[: count - bad].sum())))
        return ways | self._labels(label, other) | self._words(label)

    def _words(self, label: str) -> dict[str, Tensor]:
        phrases = [phrase.words for phrase in self._phrases if phrase.label == label]
        if self._model.text_map is None or not phrases:
            return {}
        bank, words = self._model.label_bank, str(self._words_rng.choice(phrases))
        asked = resolve([Query.words(words)], self._ear, bank, text_map=self._model.text_map)
        return {"words": asked[0].vectors}

    def _labels(self, label: str, other: str) -> dict[str, Tensor]:
        bank = self._model.label_bank
        if bank is None:
            return {}
        book = LabelBook(bank)
        try:
            ways = {"label": bank.conditions[list(book.find(label).rows)].mean(dim=0, keepdim=True)}
        except QueryError:
            return {}
        labels = [row.label for row in bank.rows]
        for parent in book.ancestors(label) if label in labels else ():
            rows = book.find(parent).rows
            if other == parent or other in [labels[row] for row in rows]:
                break  # the parent asks for both
            if len(rows) >= 3:
                below = bank.conditions[list(rows)]
                return ways | {"parent label": below.mean(dim=0, keepdim=True), "parent label, largest mask": below}
        return ways

    def _embed(self, clips: list[Clip], count: int) -> list[Tensor]:
        """Embed so many of the clips, drawn by chance, that are not silent."""
        found: list[Tensor] = []
        for index in self._rng.permutation(len(clips)):
            if len(found) == count:
                break
            clip = clips[index]
            if clip.path not in self._vectors:
                wave = read_clip(self._folder / clip.path, SAMPLE_RATE)[: 10 * SAMPLE_RATE].astype(np.float32) / 32768.0
                self._vectors[clip.path] = self._resolved(wave)
            vector = self._vectors[clip.path]
            found += [vector] if vector is not None else []
        return found

    def _resolved(self, wave: NDArray[np.float32]) -> Tensor | None:
        try:
            return resolve([Query.audio(Audio(wave[None], SAMPLE_RATE))], self._ear)[0].vectors[0]
        except QueryError:
            return None


def gain_db(model: Model, pair: tuple[Stem, ...], vectors: Tensor) -> float:
    """Return the SDR improvement of the first source, the largest of the masks of the alternatives taken."""
    config = model.separator.config
    mixture = pair[0].wave + pair[1].wave
    spectrum = stft(torch.from_numpy(mixture)[None], config.n_fft, config.hop)
    mask = model.separator.mask_of_magnitude(spectrum.abs().expand(len(vectors), -1, -1), vectors).amax(dim=0)
    target = istft(spectrum * mask, config.n_fft, config.hop, len(mixture))[0].numpy()
    return snr_db(pair[0].wave, target) - snr_db(pair[0].wave, mixture)


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with manifest.jsonl")
    parser.add_argument("--model", default="default")
    parser.add_argument("--mixtures", type=int, default=100)
    parser.add_argument("--most-examples", type=int, default=100, help="leave out the ways that take more")
    parser.add_argument("--seed", type=int, default=3)
    given = parser.parse_args()
    torch.set_grad_enabled(False)
    model = load_model(given.model, "cpu")
    askers = Askers(model, given.data, given.seed, given.most_examples)
    rows = []
    mixtures = OpenMixtures(given.data, given.seed)
    for index in range(given.mixtures):
        pair = mixtures.draw("seen", index).stems
        ways = askers.vectors(pair[0].label, pair[1].label)
        rows.append({way: gain_db(model, pair, vectors) for way, vectors in ways.items()})
    _print_gains(rows)
    same = [row for row in rows if {"1 example", "label", "words"} <= row.keys()]
    if same:
        print(f"\nOn the {len(same)} mixtures that an example, a label and words all ask for:\n")
        _print_gains([{way: row[way] for way in ("1 example", "label", "words")} for row in same])
    print("\n| examples | intruders | intruders left out | others left out |\n| --: | --: | --: | --: |")
    for (count, bad), found in askers.found.items():
        hits, errors = np.sum(found, axis=0) / len(found)
        share = f"{100 * hits / bad:.0f} %" if bad else ""
        print(f"| {count} | {bad} | {share} | {100 * errors / (count - bad):.1f} % |")


def _print_gains(rows: Sequence[Mapping[str, float]]) -> None:
    print("| asked by | mixtures | SDRi, dB | 95 % interval |\n| --- | --: | --: | --- |")
    for way in dict.fromkeys(way for row in rows for way in row):
        values = np.array([row[way] for row in rows if way in row])
        low, high = bootstrap_interval(values)
        print(f"| {way} | {len(values)} | {np.mean(values):.2f} | {low:.2f} to {high:.2f} |")


if __name__ == "__main__":
    main()
