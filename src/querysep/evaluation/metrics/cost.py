"""What a separation costs in time and memory, measured in a process of its own."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from querysep.errors import DataError
from querysep.io.audio_writer import save_audio
from querysep.pipeline import Separator

SAMPLE_RATE = 32_000
_CHILD = "import sys; from querysep.evaluation.metrics.cost import tell_cost; print(tell_cost(*sys.argv[1:]))"


def measure_cost(model: str, device: str, seconds: float) -> dict[str, float]:
    """Separate noise of so many seconds in a new process, file to file, one query.

    Args:
        model: name or folder.
        device: as `Separator.load`.
        seconds: of the mixture.

    Returns:
        Real-time factor (without loading, after a first run of 2 s), and the process's peak memory in MiB, which
        holds Python, PyTorch and the model.

    Raises:
        DataError: the process failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        mixture, query = Path(folder) / "mixture.wav", Path(folder) / "query.wav"
        rng = np.random.default_rng(0)
        for path, length_s in ((mixture, seconds), (query, 2.0)):
            noise = 0.1 * rng.standard_normal((1, round(length_s * SAMPLE_RATE)))
            save_audio(path, noise.astype(np.float32), SAMPLE_RATE)
        command = [sys.executable, "-c", _CHILD, model, device, str(mixture), str(query), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"The measurement of time and memory failed: {done.stderr.strip().splitlines()[-1]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return told


def tell_cost(model: str, device: str, mixture: str, query: str, folder: str) -> str:
    """Separate a file into files and return the cost as JSON: what the process of `measure_cost` does."""
    separator = Separator.load(model, device)
    separator.separate_file(query, query, Path(folder) / "first")  # PyTorch is slower the first time
    report = separator.separate_file(mixture, query, Path(folder) / "second")[0].report
    return json.dumps({"real_time_factor": report.real_time_factor, "peak_memory_mib": peak_memory_mib()})


def peak_memory_mib() -> float:
    """Return the most memory that this process has held, MiB.

    Linux's own figure of the running program is read; ``getrusage`` counts there what the parent held before.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return float(line.split()[1]) / 1024.0
    import resource  # not everywhere

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return float(used) / 2**20
