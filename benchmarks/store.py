"""Random reads of 2-second segments by two processes: the store, HDF5 opened for each item, decoding the sources.

python benchmarks/store.py --data DATA [--clips 400] [--reads 400] [--rounds 5]

DATA is a data set of any layout, with at least 2 s in a clip. All read the same segments, in turns, into memory of
their own; the table gives the medians over rounds and processes of wall-clock and CPU time of a segment, and their
ratios. On a busy machine the CPU times are the fairer ones. HDF5 is laid out as by audioset_tagging_cnn: int16, every
clip padded or cut to 10 s, the file opened for each item and the row of the clip read; a second way reads no more of
the row than the segment. Files are in the page cache, so this measures the work, not the disk.
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from querysep.data.clips import ClipBank
from querysep.data.formats.data_set import open_recordings
from querysep.data.recordings import Recordings
from querysep.data.store import ClipStore
from querysep.data.store.packing import pack

RATE, SEGMENT, ROW = 32_000, 64_000, 320_000
WORKERS = 2
Read = Callable[[int, int], NDArray[np.int16]]

STORE, HDF5, HDF5_PART, SOURCE = (
    "store",
    "HDF5, opened for each item",
    "HDF5, opened for each item, the segment alone",
    "source files, decoded",
)


def choose(recordings: Recordings, count: int) -> list[int]:
    """Draw clips that hold a segment."""
    long = [index for index, clip in enumerate(recordings.clips) if clip.duration_s * RATE >= SEGMENT]
    drawn = np.random.default_rng(0).permutation(long)
    return [int(index) for index in drawn if len(recordings.read(int(index))) >= SEGMENT][:count]


def write_hdf5(recordings: Recordings, path: Path) -> None:
    """Write the layout of audioset_tagging_cnn."""
    with h5py.File(path, "w") as file:
        rows = file.create_dataset("waveform", (len(recordings.clips), ROW), np.int16)
        for index in range(len(recordings.clips)):
            sound = recordings.read(index)[:ROW]
            rows[index, : len(sound)] = sound


def reader(method: str, folder: Path, data: Path, chosen: list[int]) -> Read:
    """Return the function that reads a segment, in the process that will call it."""
    if method == STORE:
        store = ClipStore(folder / "store")
        return lambda index, start: np.array(store.read(index, start, SEGMENT))
    if method == SOURCE:
        sources = open_recordings(data, RATE)
        return lambda index, start: sources.read(chosen[index], start, SEGMENT)

    def from_hdf5(index: int, start: int) -> NDArray[np.int16]:
        with h5py.File(folder / "clips.h5", "r") as file:
            if method == HDF5_PART:
                part: NDArray[np.int16] = file["waveform"][index, start : start + SEGMENT]
                return part
            row: NDArray[np.int16] = file["waveform"][index]
        return row[start : start + SEGMENT]

    return from_hdf5


def work(methods: list[str], segments: Any, rounds: int, context: Any, start: Barrier, times: Any) -> None:
    """Read the same segments by each method in turns, as one of two processes."""
    reads = {method: reader(method, *context) for method in methods}
    for index, first in segments[:20]:
        assert np.array_equal(reads[STORE](index, first), reads[HDF5](index, first))
    for _ in range(rounds):
        for method, read in reads.items():
            start.wait(300)
            began, worked = time.perf_counter(), time.process_time()
            for index, first in segments:
                read(index, first)
            taken = np.array([time.perf_counter() - began, time.process_time() - worked])
            times.put((method, taken / len(segments)))


def main() -> None:
    """Build the temporary set, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=400)
    parser.add_argument("--reads", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    sources = open_recordings(given.data, RATE)
    chosen = choose(sources, given.clips)
    clips = tuple(sources.clips[index] for index in chosen)
    recordings = ClipBank(clips, tuple(sources.read(index) for index in chosen), RATE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        began = time.perf_counter()
        pack(recordings, folder / "store")
        seconds = [len(samples) / RATE for samples in recordings.samples]
        print(
            f"{len(clips)} clips, median {statistics.median(seconds):.1f} s; {sum(seconds) * RATE * 2 / 1e6:.0f} MB, "
            f"packed from memory in {time.perf_counter() - began:.1f} s"
        )
        write_hdf5(recordings, folder / "clips.h5")
        lengths = [len(samples) for samples in recordings.samples]
        times = measure(lengths, given, (folder, given.data, chosen))
    medians = {method: np.median(taken, axis=0) for method, taken in times.items()}
    heads = ("ms", "times the store", "ms of CPU", "times the store", "segments/s")
    print(" " * 52 + "".join(f"{head:>17}" for head in heads))
    for method, median in medians.items():
        wall, cpu = median / medians[STORE]
        figures = f"{median[0] * 1e3:17.3f}{wall:17.1f}{median[1] * 1e3:17.3f}{cpu:17.1f}{WORKERS / median[0]:17.0f}"
        print(f"{method:52}{figures}")


def measure(lengths: list[int], given: argparse.Namespace, context: Any) -> dict[str, list[NDArray[np.float64]]]:
    """Return the seconds and the CPU seconds that a segment took, for every method, round and process."""
    methods = [STORE, HDF5, HDF5_PART, SOURCE]
    spawn = multiprocessing.get_context("spawn")
    start, queue = spawn.Barrier(WORKERS), spawn.Queue()
    processes = []
    for number in range(WORKERS):
        rng = np.random.default_rng([1, number])
        segments = []
        for index in rng.integers(len(lengths), size=given.reads):
            latest = min(ROW, lengths[index]) - SEGMENT
            segments.append((int(index), int(rng.integers(latest + 1))))
        arguments = (methods, segments, given.rounds, context, start, queue)
        processes.append(spawn.Process(target=work, args=arguments, daemon=True))
    for process in processes:
        process.start()
    times: dict[str, list[NDArray[np.float64]]] = {method: [] for method in methods}
    for _ in range(WORKERS * given.rounds * len(methods)):
        method, taken = queue.get(timeout=300)
        times[method].append(taken)
    for process in processes:
        process.join()
    return times


if __name__ == "__main__":
    main()
