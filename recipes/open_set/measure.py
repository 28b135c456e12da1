"""Measure every recording of some packages, and ask the teacher what it hears.

python recipes/open_set/measure.py CACHE TEACHER OUT.csv PACKAGE...

CACHE is that of ``querysep data build``; the packages are fetched where they are missing.
"""

import csv
import hashlib
import io
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from subprocess import PIPE, Popen
from typing import BinaryIO, cast

import numpy as np
import soundfile
import soxr
from teacher import SAMPLE_RATE, Teacher
from terms import read_copyright, terms_of

from querysep.data.archives import ARCHIVE_SUFFIX, is_archive, read_archive
from querysep.data.debian import fetch_package
from querysep.data.decoding import trim
from querysep.errors import DataError

FORMATS = (".ogg", ".oga", ".wav", ".mp3", ".flac", ".opus", ".aif", ".aiff", ".au")
FIELDS = ("package", "path", "seconds", "trimmed", "licence", "author", "sha1", "peak_db", "rms_db", "roll99",
          "fingerprint", "heard")  # fmt: skip
LONGEST_S = 60.0
STRETCHES = 20
HEARD = 12
TIMES, BANDS = 16, 12


def sounds(deb: Path) -> Iterator[tuple[str, bytes]]:
    """Take the audio files out of a package, and its copyright file."""
    process = Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=PIPE)
    with process, tarfile.open(fileobj=process.stdout, mode="r|") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            content = tar.extractfile(member) if member.isfile() else None
            if content is None:
                continue
            if name.lower().endswith(FORMATS) or name.endswith("/copyright"):
                yield name, content.read()
            elif is_archive(name):
                with tempfile.TemporaryFile() as copy:
                    while block := content.read(1 << 22):
                        copy.write(block)
                    copy.seek(0)
                    for inner, data in read_archive(cast(BinaryIO, copy), name):
                        if inner.lower().endswith(FORMATS):
                            yield f"{name}{ARCHIVE_SUFFIX}/{inner}", data


def measure(data: bytes, teacher: Teacher) -> dict[str, object]:
    """Measure a recording; of a long one the first minute."""
    info = soundfile.info(io.BytesIO(data))
    channels, rate = soundfile.read(io.BytesIO(data), int(LONGEST_S * info.samplerate), dtype="float32", always_2d=True)
    mono = soxr.resample(channels.mean(axis=1), rate, SAMPLE_RATE).astype(np.float32)
    peak = float(np.abs(mono).max(initial=0.0))
    sounding = trim(mono)
    scores = teacher(mono, STRETCHES).max(axis=0)
    best = scores.argsort()[::-1][:HEARD]
    return {
        "seconds": f"{info.duration:.3f}",
        "trimmed": f"{sounding.size / SAMPLE_RATE:.3f}",
        "sha1": hashlib.sha1(data, usedforsecurity=False).hexdigest()[:12],
        "peak_db": f"{20 * np.log10(max(peak, 1e-6)):.1f}",
        "rms_db": f"{10 * np.log10(max(float(np.square(mono).mean()) if mono.size else 0.0, 1e-12)):.1f}",
        "roll99": f"{roll_off(channels.mean(axis=1), rate):.0f}",
        "fingerprint": fingerprint(sounding),
        "heard": "; ".join(f"{teacher.names[place]} {scores[place]:.1f}" for place in best),
    }


def roll_off(mono: np.ndarray, rate: int) -> float:
    """Find the frequency below which 99 % of the power lies."""
    power = np.square(np.abs(np.fft.rfft(np.pad(mono, (0, max(0, 2048 - mono.size))))))
    share = np.cumsum(power) / max(float(power.sum()), 1e-20)
    return float(np.searchsorted(share, 0.99) * rate / 2 / max(len(power) - 1, 1))


def fingerprint(samples: np.ndarray) -> str:
    """Describe level over time and the spectrum over four quarters, in dB without the mean, as small integers."""
    if samples.size < 1024:
        return ""
    level = np.log(
        np.array([part.mean() for part in np.array_split(np.square(samples.astype(np.float64)), TIMES)]) + 1e-12
    )
    frames = np.lib.stride_tricks.sliding_window_view(samples, 1024)[::512] * np.hanning(1024)
    power = np.square(np.abs(np.fft.rfft(frames)))
    edges = np.unique(np.geomspace(3, 256, BANDS + 1).astype(int))
    bands = np.stack([power[:, low:high].mean(axis=1) for low, high in pairwise(edges)], axis=1)
    quarters = np.log(
        np.array([part.mean(axis=0) if len(part) else bands.mean(axis=0) for part in np.array_split(bands, 4)]) + 1e-12
    )
    values = np.concatenate([level - level.mean(), (quarters - quarters.mean()).ravel()])
    return " ".join(str(round(10 * float(value))) for value in values)


def main(cache: Path, teacher_folder: Path, output: Path, packages: list[str]) -> None:
    """Measure packages; those that the output has are left out."""
    have = set()
    if output.exists():
        with output.open(encoding="utf-8", newline="") as file:
            have = {row["package"] for row in csv.DictReader(file)}
    teacher = Teacher(teacher_folder)
    for package in packages:
        if package in have:
            continue
        rows, paragraphs = [], []
        for name, data in sounds(fetch_package(package, cache)):
            if name.endswith("/copyright"):
                paragraphs += read_copyright(data.decode("utf-8", "replace")) if f"/{package}/" in name else []
                continue
            try:
                rows.append({"package": package, "path": name, **measure(data, teacher)})
            except (soundfile.SoundFileError, ValueError, DataError) as error:
                sys.stderr.write(f"{package}:{name}: {error}\n")
        new = not output.exists()
        with output.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            if new:
                writer.writeheader()
            for row in rows:
                terms = terms_of(str(row["path"]), paragraphs)
                writer.writerow({**row, "licence": terms.licence, "author": terms.authors})
        sys.stderr.write(f"{package}: {len(rows)} recordings\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
