"""From a recording as it was found to clips of one format: mono, one rate, no silent edges."""

import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from querysep.errors import DataError

Samples = npt.NDArray[np.float32]

SAMPLE_RATE = 32_000
FRAME = 320
EDGE_FRAMES = 2
SILENT_PEAK = 1e-3
FLOOR_DB = -50.0


def decode(path: Path, sample_rate: int = SAMPLE_RATE) -> Samples:
    """Read a recording as mono.

    Args:
        path: any format that libsndfile reads.
        sample_rate: Hz, of the result.

    Returns:
        Samples, shape (time,). The mean of the channels.

    Raises:
        DataError: the file cannot be read, or holds no finite samples.
    """
    try:
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise DataError(f"Cannot decode '{path}': {error}.") from error
    mono = channels.mean(axis=1, dtype=np.float32)
    if mono.size == 0 or not np.isfinite(mono).all():
        raise DataError(f"'{path}' holds no sound.")
    if rate == sample_rate:
        return np.asarray(mono, dtype=np.float32)
    return np.asarray(soxr.resample(mono, rate, sample_rate, quality="HQ"), dtype=np.float32)


def trim(samples: Samples, floor_db: float = FLOOR_DB) -> Samples:
    """Cut leading and trailing silence away.

    Args:
        samples: shape (time,).
        floor_db: a frame of 10 ms is silent where its level is this far below the loudest one.

    Returns:
        The part between the first and the last sounding frame and 20 ms on either side;
        empty where all is silent.
    """
    if samples.size == 0 or float(np.abs(samples).max()) < SILENT_PEAK:
        return samples[:0]
    count = -(-samples.size // FRAME)
    padded = np.zeros(count * FRAME, dtype=np.float32)
    padded[: samples.size] = samples
    power = np.square(padded.reshape(count, FRAME)).mean(axis=1)
    sounding = np.flatnonzero(power > power.max() * 10 ** (floor_db / 10))
    first = max(int(sounding[0]) - EDGE_FRAMES, 0) * FRAME
    last = (int(sounding[-1]) + 1 + EDGE_FRAMES) * FRAME
    return samples[first:last]


def cut_evenly(samples: Samples, longest_s: float, sample_rate: int = SAMPLE_RATE) -> list[Samples]:
    """Cut a long recording into equal parts.

    Args:
        samples: shape (time,).
        longest_s: no part is longer.
        sample_rate: Hz.

    Returns:
        The parts in order; together they are the recording.
    """
    longest = int(longest_s * sample_rate)
    count = max(1, -(-samples.size // longest))
    return list(np.array_split(samples, count))


def two_excerpts(samples: Samples, longest_s: float, sample_rate: int = SAMPLE_RATE) -> list[Samples]:
    """Take up to two stretches of a piece of music, from its first and its second half.

    Args:
        samples: shape (time,).
        longest_s: no stretch is longer.
        sample_rate: Hz.

    Returns:
        One stretch where the piece is shorter than two of them, else two that do not overlap.
    """
    length = int(longest_s * sample_rate)
    if samples.size < 2 * length:
        start = max(0, (samples.size - length) // 2)
        return [samples[start : start + length]]
    half = samples.size // 2
    slack = half - length
    return [samples[start : start + length] for start in (slack // 2, half + slack // 2)]


def write_clip(samples: Samples, path: Path, sample_rate: int = SAMPLE_RATE) -> None:
    """Write 16-bit FLAC; scale only what would clip.

    Args:
        samples: shape (time,).
        path: the new file; its folder is made.
        sample_rate: Hz.
    """
    peak = float(np.abs(samples).max(initial=0.0))
    ceiling = 32_767 / 32_768
    if peak > ceiling:
        samples = np.asarray(samples * (ceiling / peak), dtype=np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    soundfile.write(part, samples, sample_rate, format="FLAC", subtype="PCM_16")
    part.replace(path)


def slug(label: str) -> str:
    """Turn a label into the name of a folder.

    Args:
        label: a class of the set.

    Returns:
        Lower case letters, digits and underscores.
    """
    return re.sub(r"[^a-z0-9]+", "_", label.lower()).strip("_")
