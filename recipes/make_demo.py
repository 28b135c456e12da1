"""Make examples/demo: two recordings of the open set's test side, mixed, and a query for one of them.

Run `python recipes/make_demo.py examples/demo --cache ../data/cache` on a machine with apt and the package in openset/.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from openset.packages import fetch_package, unpack_package

SAMPLE_RATE = 44_100
LENGTH_S = 7.2
PEAK = 0.8
Samples = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Take:
    """A stretch of a file in a package."""

    package: str
    path: str
    start_s: float
    length_s: float


TARGET = Take("btanks-data", "usr/share/games/btanks/data/sounds/helicopter.ogg", 0.0, LENGTH_S)
RESIDUAL = Take("btanks-data", "usr/share/games/btanks/data/sounds/ambient/country.ogg", 50.0, LENGTH_S)
QUERY = Take(
    "scorched3d-data", "usr/share/games/scorched3d/data/globalmods/apoc/data/wav/misc/helicopter.wav", 0.0, 5.5
)
BIRD_QUERY = Take(
    "scorched3d-data", "usr/share/games/scorched3d/data/globalmods/none/data/wav/misc/gull4.wav", 0.0, 1.0
)
TARGET_PAN = 0.65
"""From 0, left, to 1, right."""
RESIDUAL_PAN = 0.4


def load(take: Take, cache: Path) -> Samples:
    """Read a stretch at the demo's rate, shape (time, 2), with 20 ms of fade at the edges."""
    found = unpack_package(fetch_package(take.package, cache), [take.path], cache / "unpacked" / take.package)
    channels, rate = soundfile.read(found[take.path], always_2d=True)
    channels = channels[round(take.start_s * rate) : round((take.start_s + take.length_s) * rate)]
    channels = soxr.resample(channels, rate, SAMPLE_RATE, quality="VHQ")
    stereo = np.broadcast_to(channels, (len(channels), 2)) if channels.shape[1] == 1 else channels
    ramp = np.minimum(np.arange(len(stereo)) / (0.02 * SAMPLE_RATE), 1.0)
    return np.asarray(stereo * (ramp * ramp[::-1])[:, None])


def pan(stereo: Samples, place: float) -> Samples:
    """Move a sound between the loudspeakers; its power stays what it was."""
    angle = place * np.pi / 2
    return np.asarray(stereo * np.sqrt(2) * np.array([np.cos(angle), np.sin(angle)]))


def make_demo(directory: Path, cache: Path) -> None:
    """Write mixture, target, residual, query and bird-query."""
    target, residual = pan(load(TARGET, cache), TARGET_PAN), pan(load(RESIDUAL, cache), RESIDUAL_PAN)
    length = min(len(target), len(residual))
    target, residual = target[:length], residual[:length]
    residual = residual * np.sqrt(np.square(target).sum() / np.square(residual).sum())  # 0 dB
    scale = PEAK * 32_768 / max(np.abs(part).max() for part in (target, residual, target + residual))
    stems = {"target": np.round(target * scale), "residual": np.round(residual * scale)}
    queries = {"query": load(QUERY, cache)[:, :1], "bird-query": load(BIRD_QUERY, cache)[:, :1]}
    directory.mkdir(parents=True, exist_ok=True)
    for name, wave in {
        **stems,
        "mixture": stems["target"] + stems["residual"],
        **{name: np.round(query * PEAK * 32_768 / np.abs(query).max()) for name, query in queries.items()},
    }.items():
        soundfile.write(directory / f"{name}.flac", wave.astype(np.int16), SAMPLE_RATE, subtype="PCM_16")
        print(f"{name}.flac: {len(wave) / SAMPLE_RATE:.2f} s")


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("directory", type=Path)
parser.add_argument("--cache", type=Path, required=True, help="folder for the Debian packages")
arguments = parser.parse_args()
make_demo(arguments.directory, arguments.cache)
