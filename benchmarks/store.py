"""Random reads of 2-second segments by two processes: the store, HDF5 opened for each item, decoding the sources.

python benchmarks/store.py --data DATA [--clips 600] [--reads 400] [--rounds 7] [--s3]

All read the same segments, in turns; the table gives the medians over rounds and processes of wall-clock and CPU time
of a segment, and their ratios. On a busy machine the CPU times are the fairer ones. HDF5 is laid out as by
audioset_tagging_cnn: int16, every clip padded or cut to 10 s, the file opened for each item and the row of the clip
read. Files are in the page cache, so this measures the work, not the disk.
--s3 adds, for information, the same store on an S3 server on this machine (moto).
"""

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import soundfile
from numpy.typing import NDArray

from querysep.data.formats.data_set import open_recordings
from querysep.data.manifest import Clip, read_manifest, write_manifest
from querysep.data.recordings import Recordings
from querysep.data.store import ClipStore
from querysep.data.store_packing import pack

RATE, SEGMENT, ROW = 32_000, 64_000, 320_000
WORKERS = 2
Read = Callable[[int, int], NDArray[np.int16]]
Options = dict[str, str] | None

STORE, LANCE, HDF5, SEEK, WHOLE, S3 = (
    "store (Lance), local",
    "store, read by Lance alone",
    "HDF5, opened for each item",
    "source files, decoded from the segment's start on",
    "source files, decoded whole",
    "store (Lance), S3 on loopback",
)


def choose(data: Path, count: int) -> list[Clip]:
    """Draw clips that hold a segment."""
    clips = [clip for clip in read_manifest(data / "manifest.jsonl") if clip.duration_s * RATE >= SEGMENT]
    chosen = np.random.default_rng(0).permutation(len(clips))[:count]
    return [clips[index].model_copy(update={"path": str(clips[index].path)}) for index in chosen]


def write_hdf5(recordings: Recordings, path: Path) -> None:
    """Write the layout of audioset_tagging_cnn."""
    with h5py.File(path, "w") as file:
        rows = file.create_dataset("waveform", (len(recordings.clips), ROW), np.int16)
        for index in range(len(recordings.clips)):
            sound = recordings.read(index)[:ROW]
            rows[index, : len(sound)] = sound


def reader(method: str, folder: Path, data: Path, options: Options) -> Read:
    """Return the function that reads a segment, in the process that will call it."""
    if method in (STORE, LANCE, S3):
        store = ClipStore("s3://bucket/store" if method == S3 else folder / "store", options=options)
        store.sound.direct = method == STORE
        return lambda index, start: store.read(index, start, SEGMENT)
    if method == HDF5:

        def from_hdf5(index: int, start: int) -> NDArray[np.int16]:
            with h5py.File(folder / "clips.h5", "r") as file:
                row: NDArray[np.int16] = file["waveform"][index]
            return row[start : start + SEGMENT]

        return from_hdf5
    paths = [data / clip.path for clip in read_manifest(folder / "manifest.jsonl")]

    def from_source(index: int, start: int) -> NDArray[np.int16]:
        with soundfile.SoundFile(paths[index]) as file:
            if method == SEEK:
                file.seek(start)
                segment: NDArray[np.int16] = file.read(SEGMENT, dtype="int16")
                return segment
            whole: NDArray[np.int16] = file.read(dtype="int16")
            return whole[start : start + SEGMENT]

    return from_source


def work(methods: list[str], segments: Any, rounds: int, context: Any, start: Barrier, times: Any) -> None:
    """Read the same segments by each method in turns, as one of two processes."""
    reads = {method: reader(method, *context) for method in methods}
    checked = segments[:20]
    expected = [reads[WHOLE](*segment) for segment in checked]
    for read in reads.values():
        assert all(np.array_equal(read(*one), other) for one, other in zip(checked, expected, strict=True))
    for _ in range(rounds):
        for method, read in reads.items():
            start.wait(300)
            began, worked = time.perf_counter(), time.process_time()
            part = segments[: len(segments) // 10] if method == S3 else segments  # a server in Python is slow
            for index, first in part:
                read(index, first)
            taken = np.array([time.perf_counter() - began, time.process_time() - worked])
            times.put((method, taken / len(part)))


@contextmanager
def s3_store(folder: Path, wanted: bool) -> Iterator[Options]:
    """Copy the store to an S3 server on this machine."""
    if not wanted:
        yield None
        return
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    secret = {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
    boto3.client("s3", endpoint_url=url, region_name="us-east-1", **secret).create_bucket(Bucket="bucket")
    options = {**secret, "aws_endpoint": url, "aws_region": "us-east-1", "allow_http": "true"}
    pack(ClipStore(folder / "store"), "s3://bucket/store", options=options)
    yield options
    server.stop()


def main() -> None:
    """Build the temporary set, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=600)
    parser.add_argument("--reads", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--s3", action="store_true")
    given = parser.parse_args()
    clips = choose(given.data, given.clips)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_manifest(clips, folder / "manifest.jsonl")
        (folder / "audio").symlink_to(given.data.resolve() / "audio")
        recordings = open_recordings(folder, RATE)
        began = time.perf_counter()
        pack(recordings, folder / "store")
        print(
            f"{len(clips)} clips, median {statistics.median(clip.duration_s for clip in clips):.1f} s; packed in "
            f"{time.perf_counter() - began:.1f} s"
        )
        write_hdf5(recordings, folder / "clips.h5")
        with s3_store(folder, given.s3) as options:
            times = measure(clips, given, (folder, given.data, options))
    medians = {method: np.median(taken, axis=0) for method, taken in times.items()}
    heads = ("ms", "times the store", "ms of CPU", "times the store", "segments/s")
    print(" " * 52 + "".join(f"{head:>17}" for head in heads))
    for method, median in medians.items():
        wall, cpu = median / medians[STORE]
        figures = f"{median[0] * 1e3:17.3f}{wall:17.1f}{median[1] * 1e3:17.3f}{cpu:17.1f}{WORKERS / median[0]:17.0f}"
        print(f"{method:52}{figures}")


def measure(clips: list[Clip], given: argparse.Namespace, context: Any) -> dict[str, list[NDArray[np.float64]]]:
    """Return the seconds and the CPU seconds that a segment took, for every method, round and process."""
    methods = [STORE, LANCE, HDF5, SEEK, WHOLE, *([S3] if given.s3 else [])]
    spawn = multiprocessing.get_context("spawn")
    start, queue = spawn.Barrier(WORKERS), spawn.Queue()
    processes = []
    for number in range(WORKERS):
        rng = np.random.default_rng([1, number])
        segments = []
        for index in rng.integers(len(clips), size=given.reads):
            latest = min(ROW, int(clips[index].duration_s * RATE)) - SEGMENT
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
