"""BSS Eval version 4 (Liutkus, Stöter and Ito, 2018): how much of an estimate is the stem, other stems, or neither.

The SDR comes from museval. For the other three figures museval needs minutes and over 5 GiB for a stereo track of 4
minutes, so they are computed here, in blocks; tests hold both against each other. What version 4 means:

- the distortion filters, of 512 samples between every two channels, are fitted once to the whole recording and not to
  each frame, by least squares;
- a frame is cut out first and filtered then, so nothing before it reaches into it;
- channels are not interchangeable: this is ``bss_eval_images``, not ``bss_eval_sources``.

The SDR does not depend on the filters: stem and error are compared as they are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from querysep.types import FloatArray

FILTER = 512
_BLOCK = 2**16  # transform length of the correlations; the result does not depend on it
_FAST = 4_096  # transform lengths of frames are multiples of it
_RIDGE = 1e-10
METRICS = ("sdr_v4_db", "isr_v4_db", "sir_v4_db", "sar_v4_db")

Figures = NDArray[np.float64]


@dataclass(frozen=True)
class BssFrames:
    """The figures of each source in each frame, shape (source, frame), in dB; NaN where there are none.

    Attributes:
        sdr: source to distortion.
        isr: source image to spatial distortion: right parts in wrong places or colours.
        sir: source to interference: the other sources.
        sar: sources to artefacts: what comes from none of them.
    """

    sdr: Figures
    isr: Figures
    sir: Figures
    sar: Figures

    def named(self) -> dict[str, Figures]:
        """Return the four under the names of `METRICS`."""
        return dict(zip(METRICS, (self.sdr, self.isr, self.sir, self.sar), strict=True))


def sounds(wave: FloatArray) -> bool:
    """Whether any sample of a wave differs from zero: museval's rule for what can be measured."""
    return bool(np.any(wave))


def sdr_v4_db(reference: FloatArray, estimate: FloatArray) -> float:
    """Return the SDR of one frame, by museval, dB; NaN where reference or estimate is silent, or they are equal.

    Since it does not depend on the filters, it is taken with filters of one sample, and with the channels laid one
    after another: museval needs a thousandth of the time, and does not fail on channels that are equal.

    Args:
        reference: shape (channel, time).
        estimate: same shape.
    """
    if not (sounds(reference) and sounds(estimate)):
        return float("nan")
    from museval.metrics import bss_eval  # here, since without ffmpeg it cannot even be imported

    rows = (np.asarray(wave, np.float64).reshape(1, -1, 1) for wave in (reference, estimate))
    value = float(bss_eval(*rows, window=np.inf, hop=np.inf, filters_len=1)[0][0, 0])
    return value if np.isfinite(value) else float("nan")


def bss_eval_v4(references: FloatArray, estimates: FloatArray, frame: int) -> BssFrames:
    """Measure all sources of a recording in frames that follow each other.

    Frames in which any reference or estimate is silent give NaN for all, as do ratios to nothing: both as museval and
    its tables have it. What is left at the end, shorter than a frame, is not measured; a recording shorter than a frame
    is one frame.

    Args:
        references: shape (source, channel, time), none of them all silent.
        estimates: same shape and order, none of them all silent.
        frame: length of a frame in samples.
    """
    time = references.shape[-1]
    frame = min(frame, time)
    joint, alone = _distortion_filters(references, estimates)
    values = np.full((len(METRICS), references.shape[0], time // frame), np.nan)
    size = -(-(frame + FILTER - 1) // _FAST) * _FAST
    spectra = np.fft.rfft(joint, size, axis=-1), np.fft.rfft(alone, size, axis=-1)
    for index in range(values.shape[2]):
        part = slice(index * frame, (index + 1) * frame)
        true, guess = references[..., part], estimates[..., part]
        if all(sounds(wave) for wave in (*true, *guess)):
            values[0, :, index] = [sdr_v4_db(*pair) for pair in zip(true, guess, strict=True)]
            values[1:, :, index] = _ratios(true.astype(np.float64), guess.astype(np.float64), *spectra, size)
    values[~np.isfinite(values)] = np.nan
    return BssFrames(*values)


def _ratios(
    true: Figures, guess: Figures, joint: NDArray[np.complex128], alone: NDArray[np.complex128], size: int
) -> Figures:
    """Return ISR, SIR and SAR of one frame, shape (3, source)."""
    time = true.shape[-1] + FILTER - 1
    spectrum = np.fft.rfft(true, size, axis=-1)
    # j, k: sources; c, d: channels before and after the filters
    own = np.fft.irfft(np.einsum("jcf,jcdf->jdf", spectrum, alone), size, axis=-1)[..., :time]
    every = np.fft.irfft(np.einsum("kcf,kcjdf->jdf", spectrum, joint), size, axis=-1)[..., :time]
    padding = ((0, 0), (0, 0), (0, FILTER - 1))
    true, guess = np.pad(true, padding), np.pad(guess, padding)
    return np.stack([_ratio_db(true, own - true), _ratio_db(own, every - own), _ratio_db(every, guess - every)])


def _ratio_db(wanted: Figures, error: Figures) -> Figures:
    energies = [np.square(wave).sum(axis=(1, 2)) for wave in (wanted, error)]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: Figures = 10.0 * np.log10(energies[0] / energies[1])
    return ratio


def _distortion_filters(references: FloatArray, estimates: FloatArray) -> tuple[Figures, Figures]:
    """Fit the estimates by filtered references.

    Returns:
        The filters from all sources to each estimate, shape (source, channel, source, channel, tap), and those from
        each source to its own estimate, shape (source, channel, channel, tap).
    """
    sources, channels, _ = references.shape
    rows = sources * channels
    lags = _correlations(references.reshape(rows, -1), estimates.reshape(rows, -1))
    within, across = lags[:, :rows], lags[:, rows:]
    gram = np.block([[_toeplitz(within[a, b], within[b, a]) for b in range(rows)] for a in range(rows)])
    wanted = across.transpose(0, 2, 1).reshape(rows * FILTER, rows)
    joint = _solve(gram, wanted).reshape(sources, channels, FILTER, sources, channels)
    alone = np.empty((sources, channels, channels, FILTER))
    for source in range(sources):
        at = slice(source * channels * FILTER, (source + 1) * channels * FILTER)
        own = slice(source * channels, (source + 1) * channels)
        fitted = _solve(gram[at, at], wanted[at, own]).reshape(channels, FILTER, channels)
        alone[source] = fitted.transpose(0, 2, 1)
    return joint.transpose(0, 1, 3, 4, 2), alone


def _toeplitz(later: Figures, earlier: Figures) -> Figures:
    """Return the products of two rows' delayed copies, shape (tap, tap), from their correlations at lags from 0 on."""
    both_ways = np.concatenate([earlier[:0:-1], later])
    tap = np.arange(FILTER)
    return np.asarray(both_ways[FILTER - 1 + tap[:, None] - tap[None, :]])


def _correlations(references: FloatArray, estimates: FloatArray) -> Figures:
    """Return sum over m of a[m] b[m + lag] for lags from 0 to 511.

    Args:
        references: the rows a, shape (row, time).
        estimates: shape (row, time); the rows b are the references and then these.

    Returns:
        Shape (a, b, lag).
    """
    rows, time = references.shape
    step = _BLOCK - FILTER + 1
    total = np.zeros((rows, 2 * rows, _BLOCK // 2 + 1), np.complex128)
    for start in range(0, time, step):
        longer = np.concatenate([waves[:, start : start + _BLOCK] for waves in (references, estimates)])
        later = np.fft.rfft(longer.astype(np.float64), _BLOCK, axis=-1)
        block = np.fft.rfft(longer[:rows, :step].astype(np.float64), _BLOCK, axis=-1)
        for row, spectrum in enumerate(block):
            total[row] += spectrum.conj() * later
    lags: Figures = np.fft.irfft(total, _BLOCK, axis=-1)[..., :FILTER]
    return lags


def _solve(gram: Figures, wanted: Figures) -> Figures:
    """Solve for the filters, regularised as museval does; where references are exact copies of each other, by more."""
    identity = np.eye(len(gram))
    try:
        filters = np.linalg.solve(gram + np.finfo(np.float64).eps * identity, wanted)
    except np.linalg.LinAlgError:
        filters = np.linalg.solve(gram + _RIDGE * gram.diagonal().mean() * identity, wanted)
    return np.asarray(filters, np.float64)
