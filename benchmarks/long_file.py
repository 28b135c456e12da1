"""Real-time factor and peak memory of `querysep separate` on long stereo files at 48 kHz.

python benchmarks/long_file.py [MINUTES ...]      (default: 1 10; the demo's mixture repeated)

Prints one line for each duration: minutes, seconds taken, real-time factor, peak resident memory in MiB.
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 48_000
DEMO = Path(__file__).parent.parent / "examples" / "demo"


def write_long(path: Path, minutes: float) -> None:
    """Write the demo's mixture, at 48 kHz, again and again."""
    samples, rate = soundfile.read(DEMO / "mixture.flac", dtype="float32", always_2d=True)
    once = soxr.resample(samples, rate, RATE)
    left = round(minutes * 60 * RATE)
    with soundfile.SoundFile(path, "w", RATE, once.shape[1], subtype="PCM_16") as file:
        while left > 0:
            file.write(np.asarray(once[:left]))
            left -= len(once)


def measure(minutes: float) -> None:
    """Separate one file in a process of its own and print its line."""
    with tempfile.TemporaryDirectory() as folder:
        mixture = Path(folder) / "long.wav"
        write_long(mixture, minutes)
        command = [sys.executable, "-m", "querysep", "separate", str(mixture), "-q", str(DEMO / "query.flac")]
        started = time.perf_counter()
        subprocess.run([*command, "-o", folder, "--device", "cpu", "--quiet"], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
    # Of the largest child so far: give durations from short to long.
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{minutes:g} min: {seconds:.1f} s, real-time factor {seconds / (60 * minutes):.4f}, peak {peak_mib:.0f} MiB")


for argument in sys.argv[1:] or ["1", "10"]:
    measure(float(argument))
