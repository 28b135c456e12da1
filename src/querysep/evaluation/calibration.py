"""Fitting the presence calibration of a model: a logistic model, and how far the gate may close.

It is fitted on mixtures with queries for sounds that are in them, and as many for sounds that are not.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from querysep.data.manifest import Clip, Split
from querysep.data.ontology import audioset
from querysep.data.recordings import Recordings
from querysep.dsp.mixing import place
from querysep.dsp.stft import istft, stft
from querysep.errors import DataError, QueryError
from querysep.io.presence_calibration import FEATURES, PresenceCalibration
from querysep.model import Model
from querysep.pipeline.presence import HeardWindows, gain_of, hear_windows, presence_features, similarity
from querysep.progress import Progress, silent
from querysep.queries.examples import Ear
from querysep.queries.query import Query
from querysep.queries.resolve import resolve
from querysep.types import Audio

MOST_LOST_DB = 0.05  # mean SDR improvement of present queries that the gate may cost
_SILENT_BELOW = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3)
_OPEN_FACTOR = 2.5  # odds from silent to open
_RIDGE = 1.0
_ROUNDS = 50
SHORTEST_S, LONGEST_S = 2.0, 8.0
_SHORTEST_CLIP_S = 0.25
_LONGEST_QUERY_S = 10.0
_LEVELS_DB = 8.0  # the sounds of a mixture differ by up to so much
_LABEL_SHARE = 0.4  # of the queries are names, where the model has it
_TRIES = 500


@dataclass(frozen=True)
class PresenceTrial:
    """A query for a mixture.

    Attributes:
        label: the class of the query.
        query: another recording of the class, or its name.
        wave: the true sound, as it is in the mixture, shape (time,); None where it is not there.
    """

    label: str
    query: Query
    wave: NDArray[np.float32] | None


@dataclass(frozen=True)
class PresenceMixture:
    """A mixture, shape (time,), and the queries for it."""

    wave: NDArray[np.float32]
    trials: tuple[PresenceTrial, ...]


@dataclass(frozen=True)
class _Measured:
    """One query: what the detector found, and what its mask did.

    Attributes:
        windows: of the mixture.
        vector: the condition.
        features: as seen from the origin.
        products: energy of the true sound, its product with the target, and the target's energy; None where absent.
    """

    windows: HeardWindows
    vector: Tensor
    features: Tensor
    products: tuple[float, float, float] | None

    def features_from(self, centre: Tensor) -> NDArray[np.float64]:
        """Return the features as seen from what all mixtures have in common."""
        features = self.features.clone()
        features[FEATURES.index("similarity")] = similarity(self.windows, self.vector, centre)
        return np.asarray(features.double().cpu().numpy())


@dataclass(frozen=True)
class Fit:
    """A calibration, and how well it does on the mixtures that it was fitted on.

    Attributes:
        calibration: to be written beside the weights.
        queries: how many.
        auc: how often a present query scores above an absent one.
        lost_db: mean SDR improvement of present queries that the gate costs.
        silenced: share of the absent queries that the gate closes by 20 dB or more.
        split: side of the data set that it was fitted on.
    """

    calibration: PresenceCalibration
    queries: int
    auc: float
    lost_db: float
    silenced: float
    split: Split


def fit_presence(model: Model, recordings: Recordings, mixtures: int, seed: int, progress: Progress = silent) -> Fit:
    """Fit the presence calibration on mixtures of the validation side; of the training side where there is none.

    Args:
        model: what it is for.
        recordings: a data set at the model's rate.
        mixtures: how many to draw.
        seed: of the choice.
        progress: told after each mixture.

    Raises:
        DataError: the data set is too small, or cannot be read.
    """
    split: Split = "validation" if any(clip.split == "validation" for clip in recordings.clips) else "train"
    names = () if model.label_bank is None else tuple(row.label for row in model.label_bank.rows)
    measured: list[_Measured] = []
    latents: list[Tensor] = []
    for done, mixture in enumerate(PresenceMixtures(recordings, split, names, seed).draw(mixtures)):
        windows, queries = _measure(model, mixture)
        latents.append(windows.latents.mean(dim=0))
        measured += queries
        progress(done + 1, mixtures, "measuring mixtures")
    centre = torch.stack(latents).mean(dim=0)
    features = np.stack([one.features_from(centre) for one in measured])
    present = np.array([one.products is not None for one in measured])
    if present.all() or not present.any():
        raise DataError("The data set gave no mixtures with present and absent sounds. Give a larger one.")
    weights, bias = logistic(features, present)
    scores = 1.0 / (1.0 + np.exp(-(features @ weights + bias)))
    silent_below, lost_db = _limit(measured, scores)
    calibration = PresenceCalibration(
        model_hash=model.hash,
        weights=tuple(float(one) for one in weights),
        bias=float(bias),
        centre=tuple(round(float(one), 5) for one in centre.cpu()),
        silent_below=silent_below,
        open_above=_open_above(silent_below),
        fitted_on=f"{mixtures} mixtures of 1 to 3 sounds of the {split} side, seed {seed}",
    )
    closed = np.array([gain_of(one, silent_below, _open_above(silent_below)) <= 0.1 for one in scores])
    return Fit(calibration, len(measured), auc(present, scores), lost_db, float(closed[~present].mean()), split)


@torch.inference_mode()
def _measure(model: Model, mixture: PresenceMixture) -> tuple[HeardWindows, list[_Measured]]:
    config = model.separator.config
    wave = torch.from_numpy(mixture.wave).to(model.device)
    windows = hear_windows(model.detector, wave)
    spectrum = stft(wave, config.n_fft, config.hop)
    ours = model.separator.listen(spectrum.abs()[None])
    ear = Ear(model.detector, model.device)
    found = []
    for trial in mixture.trials:
        try:
            (condition,) = resolve([trial.query], ear, model.label_bank)
        except QueryError:  # a silent recording
            continue
        mask = model.separator.answer(ours, condition.vectors, spectrum.shape[-1])[0]
        target = istft(spectrum * mask, config.n_fft, config.hop, len(wave)).cpu().numpy()
        vector, origin = condition.vectors[0], torch.zeros_like(condition.vectors[0])
        logits = model.separator.presence_logits(ours, condition.vectors)
        match = spectrum.abs().new_zeros(()) if logits is None else logits[0, 0].float()
        power = spectrum.abs().square()
        features = presence_features(windows, vector, condition.profiles[0], power, mask, origin, match)
        found.append(_Measured(windows, vector, features, _products(trial, target)))
    return windows, found


def _products(trial: PresenceTrial, target: NDArray[np.float32]) -> tuple[float, float, float] | None:
    if trial.wave is None:
        return None
    truth, guess = trial.wave.astype(np.float64), target.astype(np.float64)
    return float(truth @ truth), float(truth @ guess), float(guess @ guess)


def logistic(features: NDArray[np.float64], present: NDArray[np.bool_]) -> tuple[NDArray[np.float64], float]:
    """Fit weights and bias by Newton's method, with a small penalty on the weights of standardised features.

    Args:
        features: shape (query, feature).
        present: shape (query,).
    """
    mean, spread = features.mean(axis=0), features.std(axis=0) + 1e-9
    rows = np.concatenate(((features - mean) / spread, np.ones((len(features), 1))), axis=1)
    penalty = np.append(np.full(features.shape[1], _RIDGE), 1e-6)
    values = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        scores = 1.0 / (1.0 + np.exp(-np.clip(rows @ values, -50, 50)))
        slope = rows.T @ (scores - present) + penalty * values
        curve = (rows * (scores * (1.0 - scores))[:, None]).T @ rows + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        values = values - step
        if np.abs(step).max() < 1e-9:
            break
    weights = values[:-1] / spread
    return weights, float(values[-1] - weights @ mean)


def auc(present: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return how often a present query scores above an absent one, ties counted half."""
    above, below = scores[present][:, None], scores[~present][None, :]
    return float((above > below).mean() + 0.5 * (above == below).mean())


def _open_above(silent_below: float) -> float:
    odds = _OPEN_FACTOR * silent_below / (1.0 - silent_below)
    return odds / (1.0 + odds)


def _limit(measured: Sequence[_Measured], scores: NDArray[np.float64]) -> tuple[float, float]:
    """Return the highest presence up to which targets may be silenced, and what that costs the present ones, dB."""
    there = [(one.products, float(score)) for one, score in zip(measured, scores, strict=True) if one.products]
    plain = np.mean([_snr_db(products, 1.0) for products, _ in there])
    chosen, lost = _SILENT_BELOW[0], 0.0
    for limit in _SILENT_BELOW:
        gains = [gain_of(score, limit, _open_above(limit)) for _, score in there]
        gated = [_snr_db(products, gain) for (products, _), gain in zip(there, gains, strict=True)]
        cost = float(plain - np.mean(gated))
        if cost > MOST_LOST_DB:
            break
        chosen, lost = limit, cost
    return chosen, lost


def _snr_db(products: tuple[float, float, float], gain: float) -> float:
    truth, both, guess = products
    error = truth - 2.0 * gain * both + gain * gain * guess
    return float(10.0 * np.log10(truth / max(error, truth * 1e-6)))


class PresenceMixtures:
    """Draws mixtures of one to three sounds of 2 to 8 s; mixture i is the same for one seed.

    Args:
        recordings: a data set.
        split: the side to draw from.
        names: classes that can be queried by name.
        seed: of the choice.

    Raises:
        DataError: fewer than three classes have two recordings.
    """

    def __init__(self, recordings: Recordings, split: Split, names: Sequence[str] = (), seed: int = 0) -> None:
        self._recordings, self._names, self._seed = recordings, frozenset(names), seed
        by_class: dict[str, list[int]] = {}
        for index, clip in enumerate(recordings.clips):
            if clip.split == split and clip.duration_s >= _SHORTEST_CLIP_S:
                by_class.setdefault(clip.labels[0], []).append(index)
        self._by_class = {label: indices for label, indices in sorted(by_class.items()) if len(indices) >= 2}
        if len(self._by_class) < 3:
            raise DataError(
                f"The split '{split}' has {len(self._by_class)} classes with two recordings or more; at least 3 are "
                "needed to tell present from absent sounds. Give a larger data set."
            )

    def draw(self, count: int) -> Iterator[PresenceMixture]:
        """Yield mixtures; each has queries for all of its sounds, and for as many that are not there.

        Raises:
            DataError: a recording cannot be read, or the split is too small or too quiet.
        """
        for index in range(count):
            rng = np.random.default_rng([self._seed, 23, index])
            for _ in range(_TRIES):
                if (mixture := self._try(rng)) is not None:
                    yield mixture
                    break
            else:
                raise DataError("The data set is too small or too quiet to draw mixtures from.")

    def _try(self, rng: np.random.Generator) -> PresenceMixture | None:
        rate, wanted = self._recordings.sample_rate, int(rng.choice([1, 2, 2, 3]))
        time = int(rng.integers(round(SHORTEST_S * rate), round(LONGEST_S * rate)))
        clips: list[int] = []
        for _ in range(_TRIES):
            index = self._pick(rng)
            if not any(_holds(self._clip(one), self._clip(index).labels[0]) for one in clips):
                clips.append(index)
            if len(clips) == wanted:
                break
        waves = self._levelled([place(self._read(index), time, rng, repeat_share=0.3) for index in clips], rng)
        if waves is None:
            return None
        present = [(self._clip(index).labels[0], wave) for index, wave in zip(clips, waves, strict=True)]
        trials = [PresenceTrial(label, self._query(label, clips, rng), wave) for label, wave in present]
        trials += [PresenceTrial(label, self._query(label, clips, rng), None) for label in self._absent(clips, rng)]
        return PresenceMixture(np.stack(waves).sum(axis=0), tuple(trials))

    def _clip(self, index: int) -> Clip:
        return self._recordings.clips[index]

    def _pick(self, rng: np.random.Generator) -> int:
        indices = self._by_class[list(self._by_class)[int(rng.integers(len(self._by_class)))]]
        return indices[int(rng.integers(len(indices)))]

    def _levelled(self, waves: list[NDArray[np.float32]], rng: np.random.Generator) -> list[NDArray[np.float32]] | None:
        """Bring sounds to levels that differ a little; None where one is silent."""
        levels = [float(np.sqrt(np.square(wave, dtype=np.float64).mean())) for wave in waves]
        if min(levels) < 3e-5:
            return None
        gains = [0.1 / level * 10 ** (rng.uniform(-_LEVELS_DB, _LEVELS_DB) / 20) for level in levels]
        peak = float(np.abs(np.sum([wave * gain for wave, gain in zip(waves, gains, strict=True)], axis=0)).max())
        scale = min(1.0, 0.9 / peak)
        return [wave * np.float32(gain * scale) for wave, gain in zip(waves, gains, strict=True)]

    def _absent(self, clips: Sequence[int], rng: np.random.Generator) -> list[str]:
        present = [self._clip(index) for index in clips]
        labels = [label for label in self._by_class if not any(_holds(clip, label) for clip in present)]
        return [labels[place] for place in rng.permutation(len(labels))[: len(clips)]]

    def _query(self, label: str, in_mixture: Sequence[int], rng: np.random.Generator) -> Query:
        if label in self._names and rng.random() < _LABEL_SHARE:
            return Query.label(label)
        origins = {self._clip(index).origin for index in in_mixture}
        others = [index for index in self._by_class[label] if self._clip(index).origin not in origins]
        others = others or [index for index in self._by_class[label] if index not in in_mixture]
        chosen = others[int(rng.integers(len(others)))]
        longest = round(_LONGEST_QUERY_S * self._recordings.sample_rate)
        return Query.audio(Audio(self._read(chosen, longest)[None], self._recordings.sample_rate))

    def _read(self, index: int, count: int | None = None) -> NDArray[np.float32]:
        return self._recordings.read(index, 0, count).astype(np.float32) / np.float32(32768.0)


def _holds(clip: Clip, label: str) -> bool:
    """Say whether a clip may be called by a class: its own, one above it, or a kind of it."""
    known = audioset()
    above = {one for own in clip.labels if own in known for one in known.ancestors(own)}
    return label in above.union(clip.labels) or (label in known and clip.labels[0] in known.ancestors(label))
