"""What keeping freed memory does to the mixer: the same batch in two processes, in turns, as a ratio of medians.

python benchmarks/rendering.py [--rounds 5] [--rows 96] [--seconds 5.12]
"""

import argparse
import statistics
import subprocess
import sys
import time

import torch

from querysep.dsp.mixing import Play, Playback, render
from querysep.training.runner import keep_freed_memory

RATE = 32_000


def measure(rows: int, seconds: float) -> float:
    """Return the time of rendering a batch, the median of five, seconds."""
    torch.set_num_threads(1)
    samples = round(seconds * RATE)
    plays = [Play(samples).faster(1.1).colored([3.0] * 6) if row % 3 == 0 else Play(samples) for row in range(rows)]
    playback = Playback.of(plays)
    took = []
    for _ in range(6):
        sounds = torch.zeros(rows, round(1.3 * samples), dtype=torch.int16)
        start = time.perf_counter()
        render(sounds, playback, samples, RATE)
        took.append(time.perf_counter() - start)
    return statistics.median(took[1:])


def main() -> None:
    """Measure both, and print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--seconds", type=float, default=5.12)
    parser.add_argument("--one", choices=("kept", "given back"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        if given.one == "kept":
            keep_freed_memory()
        sys.stdout.write(f"{measure(given.rows, given.seconds)}\n")
        return
    times: dict[str, list[float]] = {"given back": [], "kept": []}
    for _ in range(given.rounds):
        for mode, found in times.items():
            command = [sys.executable, __file__, "--one", mode, "--rows", str(given.rows)]
            command += ["--seconds", str(given.seconds)]
            found.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    medians = {mode: statistics.median(found) for mode, found in times.items()}
    for mode, median in medians.items():
        sys.stdout.write(f"memory {mode}: {1000 * median:.0f} ms\n")
    sys.stdout.write(f"ratio {medians['kept'] / medians['given back']:.2f}\n")


if __name__ == "__main__":
    main()
