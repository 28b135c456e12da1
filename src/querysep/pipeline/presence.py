"""How surely a queried sound is in a mixture, chunk by chunk, and the gate that silences what is not there."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from querysep.detection.network import DetectorNetwork
from querysep.detection.windows import lengthen
from querysep.dsp.downmix import downmix
from querysep.dsp.level import SILENT, quiet_gain, swing
from querysep.dsp.stft import stft
from querysep.io.presence_calibration import PresenceCalibration
from querysep.model import Model

CLOSED_DB = -60.0
UNCALIBRATED = (
    "The model has no presence calibration of its own: the presence score is the detector's bare opinion, and a sound "
    "that is not there is not silenced. `querysep calibrate` makes one."
)
_LEAST = 1e-4
_WINDOW_S = 2.56
_MOST_WINDOWS = 16  # in one call of the detector: bounds memory


@dataclass(frozen=True)
class HeardWindows:
    """What the detector hears in a stretch of a mixture, in windows that overlap by half.

    Attributes:
        framewise: probabilities, shape (window, class, frame).
        latents: shape (window, latent_dim).
    """

    framewise: Float[Tensor, "window class frame"]
    latents: Float[Tensor, "window latent_dim"]


@torch.inference_mode()
def hear_windows(network: DetectorNetwork, wave: Float[Tensor, " time"]) -> HeardWindows:
    """Listen to a stretch of any length, mono at the detector's rate, at least one sample."""
    config = network.config
    size = min(config.window_time, round(_WINDOW_S * config.sample_rate))
    if len(wave) <= size:
        windows = lengthen(wave[None], config.n_fft)
    else:
        starts = list(range(0, len(wave) - size + 1, size // 2))
        starts += [len(wave) - size] if starts[-1] + size < len(wave) else []
        windows = torch.stack([wave[start : start + size] for start in starts])
    heard = [network(part) for part in torch.split(windows, _MOST_WINDOWS)]
    return HeardWindows(torch.cat([one.framewise for one in heard]), torch.cat([one.latent for one in heard]))


def presence_features(
    heard: HeardWindows,
    vector: Float[Tensor, " condition_dim"],
    profile: Float[Tensor, " class"],
    power: Float[Tensor, "freq frame"],
    mask: Float[Tensor, "freq frame"],
    centre: Float[Tensor, " condition_dim"],
    match: Float[Tensor, ""],
) -> Float[Tensor, " feature"]:
    """Measure what tells whether a queried sound is there.

    Args:
        heard: in the mixture.
        vector: the query's condition.
        profile: the classes that the detector hears in the query's examples, probabilities.
        power: of the mixture's spectrogram, not all zero.
        mask: the query's.
        centre: what all mixtures have in common, taken from both sides of the similarity.
        match: the separator's own log-odds that the query is in the mixture.

    Returns:
        In the order of `PresenceCalibration.features`: the largest log-odds of the query's classes, weighted by the
        square of the profile; the largest cosine of the condition with a window of the mixture; the log-odds of the
        mask where it takes energy; the logarithm of the share of the energy that it takes; ``match``.
    """
    weights = profile.square() / profile.square().sum().clamp(min=1e-12)
    detector_logit = (torch.logit(heard.framewise, _LEAST) * weights[None, :, None]).sum(dim=1).max()
    taken, kept, all_ = (mask * power).sum(), (mask.square() * power).sum(), power.sum()
    confidence = torch.logit(kept / taken.clamp(min=1e-20), _LEAST)
    return torch.stack(
        (detector_logit, similarity(heard, vector, centre), confidence, torch.log10(kept / all_ + _LEAST), match)
    )


def similarity(
    heard: HeardWindows, vector: Float[Tensor, " condition_dim"], centre: Float[Tensor, " condition_dim"]
) -> Float[Tensor, ""]:
    """Return the largest cosine of a condition with a window, seen from ``centre``."""
    return functional.cosine_similarity(heard.latents - centre, (vector - centre)[None], dim=1).max()


def coverage(profile: Float[Tensor, " class"], framewise: Float[Tensor, "window class frame"]) -> float:
    """Say how well a mixture covers the classes of a query: the score of a model without calibration.

    With the query's class profile q and the probabilities m of the mixture, the share of q that m covers at a time t is
    s(t) = sum_c min(q_c, m_c(t)) / sum_c q_c; the score is the largest s(t), and 0 where the query has no class.
    """
    total = float(profile.sum())
    if total <= 0:
        return 0.0
    return min(1.0, float(torch.minimum(framewise, profile[None, :, None]).sum(dim=1).max()) / total)


def probability(calibration: PresenceCalibration, features: Float[Tensor, " feature"]) -> float:
    """Turn features into how surely the sound is there, 0..1."""
    logit = float(features.cpu().double() @ torch.tensor(calibration.weights, dtype=torch.float64)) + calibration.bias
    return 1.0 / (1.0 + math.exp(-max(-50.0, min(50.0, logit))))


def gain_of(presence: float, silent_below: float, open_above: float) -> float:
    """Return what a target of this presence is multiplied with: 1 from ``open_above`` on, falling to -60 dB."""
    low, high, now = (math.log(one / (1.0 - one)) for one in (silent_below, open_above, _inside(presence)))
    closed = min(1.0, max(0.0, (high - now) / (high - low)))
    return float(10.0 ** (CLOSED_DB * closed / 20.0))


def _inside(probability: float) -> float:
    return min(1.0 - 1e-9, max(1e-9, probability))


class PresenceGate:
    """Scores each condition in each chunk, and closes over those that are not there.

    Nothing is known of later chunks, so it works in streams; where two chunks overlap, one gain fades into the other.

    Args:
        model: a loaded model.
        vectors: the conditions.
        profiles: of the queries behind them.
        keep_absent: leave all masks as they are; only score.

    Attributes:
        scores: for each condition the largest presence of any chunk so far, 0..1.
    """

    def __init__(
        self,
        model: Model,
        vectors: Float[Tensor, "condition condition_dim"],
        profiles: Float[Tensor, "condition class"],
        *,
        keep_absent: bool = False,
    ) -> None:
        self._model, self._vectors, self._profiles = model, vectors, profiles
        self._calibration = model.presence
        self._keep = keep_absent or self._calibration is None
        centre = self._calibration.centre if self._calibration is not None else (0.0,) * vectors.shape[1]
        self._centre = torch.tensor(centre, dtype=torch.float32, device=vectors.device)
        self.scores = [0.0] * len(vectors)
        self._loudest = 0.0

    def __call__(self, start: int, wave: Tensor, masks: Tensor, matches: Tensor) -> Tensor:
        """Give the gains of a chunk, shape (condition, 1)."""
        gains = torch.ones(len(self.scores), 1, dtype=masks.dtype, device=masks.device)
        config = self._model.separator.config
        mono = downmix(wave.cpu().numpy(), config.sample_rate)
        level = swing(mono)
        if level < SILENT:
            return gains
        self._loudest = max(self._loudest, level)
        loud = torch.from_numpy(mono * np.float32(quiet_gain(self._loudest))).to(wave.device)
        heard = hear_windows(self._model.detector, loud)
        power = stft(wave, config.n_fft, config.hop).abs().square()
        for index, (vector, profile) in enumerate(zip(self._vectors, self._profiles, strict=True)):
            score = self._score(heard, vector, profile, power, masks[index], matches[index])
            self.scores[index] = max(self.scores[index], score)
            if not self._keep and self._calibration is not None:
                gains[index] = gain_of(score, self._calibration.silent_below, self._calibration.open_above)
        return gains

    def _score(
        self, heard: HeardWindows, vector: Tensor, profile: Tensor, power: Tensor, mask: Tensor, match: Tensor
    ) -> float:
        if self._calibration is None:
            return coverage(profile, heard.framewise)
        flat_power, flat_mask = power.flatten(0, 1), mask.flatten(0, 1)  # the channels below each other
        features = presence_features(heard, vector, profile, flat_power, flat_mask, self._centre, match)
        return probability(self._calibration, features)
