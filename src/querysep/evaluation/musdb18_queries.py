"""The four queries of the MUSDB18 protocols: the stems of the training side, as one condition each."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from querysep.data.musdb18 import STEMS, Track, TrackReader
from querysep.detection.htsat import Htsat
from querysep.detection.windows import embed
from querysep.dsp.streaming_resampler import resample
from querysep.errors import DataError
from querysep.types import FloatArray

SEGMENT_S = 2
LEAST_ENERGY = 0.1  # sum of squares of a segment
TRACKS = 90
SEGMENTS = 15  # of each stem of a track
_BATCH = 5


def stem_conditions(
    detector: Htsat, device: torch.device, tracks: Sequence[Track]
) -> Float[Tensor, "stem condition_dim"]:
    """Average the latent embeddings of the training stems, as the paper does.

    Of the first 90 tracks by name (as many as the published code takes), each stem is averaged over its channels,
    resampled to the detector's rate and cut into segments of 2 s from its beginning; the tail is dropped, and so are
    segments whose sum of squares is at most 0.1. Of those that are left the 15 with most energy are embedded: 30 s of
    each stem. (The authors took highlights of 30 s without silence; which ones is not published.) The condition is the
    mean over tracks of the mean over a track's segments. A track in which a stem never sounds does not count for it.

    Args:
        detector: in eval mode, on the device.
        device: where to compute.
        tracks: of the training side, by name.

    Returns:
        One condition for each of `STEMS`, in their order, on the device.

    Raises:
        DataError: a track cannot be read, or a stem sounds in none of them.
    """
    means: dict[str, list[Tensor]] = {stem: [] for stem in STEMS}
    chosen = tracks[:TRACKS]
    for track in chosen:
        reader = TrackReader(track)
        for stem in STEMS:
            audio = reader.read(stem)
            wave = resample(audio.mono[None], audio.sample_rate, detector.config.sample_rate)[0]
            vector = mean_embedding(detector, device, wave)
            if vector is not None:
                means[stem].append(vector)
    silent_stems = [stem for stem, vectors in means.items() if not vectors]
    if silent_stems:
        raise DataError(
            f"No training track has 2 s of {', '.join(silent_stems)} to make a query from (looked at {len(chosen)} "
            "tracks). Give the whole of MUSDB18."
        )
    return torch.stack([torch.stack(means[stem]).mean(dim=0) for stem in STEMS])


def mean_embedding(detector: Htsat, device: torch.device, wave: FloatArray) -> Float[Tensor, "condition_dim"] | None:
    """Return the mean latent embedding of a wave's loud segments, or None where it has none.

    Args:
        detector: in eval mode, on the device.
        device: where to compute.
        wave: shape (time,), at the detector's rate.
    """
    segments = torch.from_numpy(loud_segments(wave, SEGMENT_S * detector.config.sample_rate))
    if not len(segments):
        return None
    vectors = [embed(detector, part.to(device)) for part in torch.split(segments, _BATCH)]
    return torch.cat(vectors).mean(dim=0)


def loud_segments(wave: FloatArray, size: int) -> FloatArray:
    """Cut a wave into segments and choose the loudest, at most 15, that are not silent.

    Args:
        wave: shape (time,).
        size: of a segment, in samples.

    Returns:
        Shape (segment, size), in the order of time; there may be none.
    """
    segments = wave[: len(wave) // size * size].reshape(-1, size)
    energies = np.square(segments).sum(axis=1)
    loudest = np.sort(np.argsort(-energies, kind="stable")[:SEGMENTS])
    loud = loudest[energies[loudest] > LEAST_ENERGY]
    return np.ascontiguousarray(segments[loud])
