"""Tell how much closer the demo's target and residual are to the true recordings than the mixture was."""

import sys
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

HERE = Path(__file__).parent


def snr_db(reference: NDArray[np.float64], estimate: NDArray[np.float64]) -> float:
    """Energy of the reference over energy of the error, in dB."""
    error = reference - estimate
    return float(10 * np.log10(np.square(reference).sum() / np.square(error).sum()))


def read(path: Path) -> NDArray[np.float64]:
    """The samples of a file, shape (time, channel)."""
    samples: NDArray[np.float64] = soundfile.read(path, always_2d=True)[0]
    return samples


def main(output: Path) -> None:
    """Print one line per part: how close the mixture was, how close the result is, and the improvement."""
    mixture = read(HERE / "mixture.flac")
    for part in ("target", "residual"):
        truth = read(HERE / f"{part}.flac")
        before_db = snr_db(truth, mixture)
        after_db = snr_db(truth, read(output / f"mixture.{part}.wav"))
        sys.stdout.write(
            f"{part:<8}  SDR of the mixture {before_db:6.2f} dB, of the result {after_db:6.2f} dB: "
            f"SDR improvement {after_db - before_db:+.2f} dB\n"
        )


main(Path(sys.argv[1]))
