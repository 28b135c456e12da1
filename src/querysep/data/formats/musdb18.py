"""MUSDB18 as it is found: stems in one file (``.stem.mp4``), or a folder of WAV files for each track (MUSDB18-HQ)."""

import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from querysep.errors import DataError
from querysep.types import Audio

if TYPE_CHECKING:
    from musdb import MultiTrack

Stem = Literal["vocals", "drums", "bass", "other"]
Subset = Literal["train", "test"]

STEMS: tuple[Stem, ...] = ("vocals", "drums", "bass", "other")
_STREAMS = {"mixture": 0, "drums": 1, "bass": 2, "other": 3, "vocals": 4}
_ENDING = ".stem.mp4"
_HASHED = 65_536  # bytes of the beginning, middle and end of each file
_MOST_DIFFERENCE = 4_096  # samples; more than encoders add


@dataclass(frozen=True)
class Track:
    """One song.

    Attributes:
        name: artist and title, as the file or folder is called.
        subset: "train" or "test".
        path: the ``.stem.mp4`` file, or the folder of WAV files.
    """

    name: str
    subset: Subset
    path: Path

    @property
    def in_wav(self) -> bool:
        """Whether it is a folder of WAV files."""
        return not self.path.name.endswith(_ENDING)

    def file(self, part: str) -> Path:
        """Return the file that holds a stem or the mixture."""
        return self.path / f"{part}.wav" if self.in_wav else self.path


class Musdb18:
    """The tracks of MUSDB18 or MUSDB18-HQ.

    They are decoded by the package musdb, through stempeg and ffmpeg, as most published figures were: 16-bit samples at
    the file's own rate.

    Args:
        root: the folder with ``train`` and ``test`` in it.

    Attributes:
        root: as given.
        train: by name.
        test: by name.

    Raises:
        DataError: the folder is missing, does not hold MUSDB18, lacks a subset or a stem, or mixes both formats.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        if not root.is_dir():
            raise DataError(
                f"There is no folder '{root}'. Give the folder that holds MUSDB18's train and test folders."
            )
        if not any((root / subset).is_dir() for subset in ("train", "test")):
            raise DataError(
                f"'{root}' is not MUSDB18: it has neither a folder 'train' nor a folder 'test'. "
                "Give the folder that holds both."
            )
        self.train = _find(root, "train")
        self.test = _find(root, "test")
        if len({track.in_wav for track in (*self.train, *self.test)}) > 1:
            raise DataError(f"'{root}' holds both {_ENDING} files and folders of WAV files. Keep one of the two.")

    @property
    def layout(self) -> Literal["stems", "wav"]:
        """How the tracks lie on the disk."""
        return "wav" if self.test[0].in_wav else "stems"

    def fingerprint(self) -> str:
        """Return 16 hexadecimal digits that tell one set of tracks from another.

        They are a hash of names, sizes and 64 KiB of the beginning, middle and end of every file.
        """
        digest = hashlib.sha256()
        for track in (*self.train, *self.test):
            for file in sorted({track.file(part) for part in _STREAMS}):
                size = file.stat().st_size
                digest.update(f"{file.relative_to(self.root).as_posix()}\0{size}\0".encode())
                with file.open("rb") as content:
                    for start in (0, max(0, size // 2 - _HASHED // 2), max(0, size - _HASHED)):
                        content.seek(start)
                        digest.update(content.read(_HASHED))
        return digest.hexdigest()[:16]


def _find(root: Path, subset: Subset) -> tuple[Track, ...]:
    folder = root / subset
    found = tuple(_tracks_below(folder, subset)) if folder.is_dir() else ()
    if not found:
        raise DataError(
            f"'{folder}' holds no tracks of MUSDB18. It needs <track>{_ENDING} files, or a folder for each track with "
            "mixture.wav and a WAV file for each stem."
        )
    return found


def _tracks_below(folder: Path, subset: Subset) -> Iterator[Track]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.name.endswith(_ENDING):
            yield Track(path.name.removesuffix(_ENDING), subset, path)
        elif path.is_dir():
            missing = [f"{part}.wav" for part in _STREAMS if not (path / f"{part}.wav").is_file()]
            if missing:
                raise DataError(f"'{path}' lacks {', '.join(missing)}. Copy or unpack the track again.")
            yield Track(path.name, subset, path)


class TrackReader:
    """Decodes the parts of one track, one at a time.

    Args:
        track: what to read.

    Raises:
        DataError: the file is damaged or has not its five streams, or musdb or ffmpeg is not installed.
    """

    def __init__(self, track: Track) -> None:
        self.track = track
        self._opened = _open(track)
        streams = self._opened.info.nb_audio_streams
        if not track.in_wav and streams != len(_STREAMS):
            raise DataError(
                f"'{track.path}' has {streams} sound streams; a track of MUSDB18 has {len(_STREAMS)}: mixture, drums, "
                "bass, other, vocals. Copy or download it again."
            )

    def read(self, part: str) -> Audio:
        """Decode the mixture or a stem.

        Args:
            part: "mixture" or one of `STEMS`.

        Returns:
            The whole of it, at the file's own rate.

        Raises:
            DataError: it cannot be decoded.
        """
        path = self.track.file(part)
        try:
            opened = _open(self.track, part) if self.track.in_wav and part != "mixture" else self._opened
            samples = opened.load_audio(opened.path, _STREAMS[part])
        except (Warning, ValueError, RuntimeError) as error:  # stempeg raises bare warnings
            raise DataError(f"'{path}' cannot be decoded: {_one_line(error)}. Copy or download it again.") from error
        channels = opened.info.channels(0)
        if not samples.size:
            raise DataError(f"'{path}' holds no sound that can be decoded ({part}). Copy or download it again.")
        return Audio(np.ascontiguousarray(samples.reshape(-1, channels).T, dtype=np.float32), int(opened.rate))

    def read_together(self) -> dict[str, Audio]:
        """Decode the mixture and all stems.

        Returns:
            By name, the mixture first; all of one rate, channel count and length: what an encoder added to the end of
            some (at most 4,096 samples) is cut off.

        Raises:
            DataError: a part cannot be decoded, or their rates, channels or lengths differ.
        """
        parts = {part: self.read(part) for part in ("mixture", *STEMS)}
        shapes = {(audio.sample_rate, audio.samples.shape[0]) for audio in parts.values()}
        lengths = [audio.samples.shape[1] for audio in parts.values()]
        if len(shapes) > 1 or max(lengths) - min(lengths) > _MOST_DIFFERENCE:
            shapes_in_words = ", ".join(
                f"{part} {audio.sample_rate} Hz x {audio.samples.shape[0]} x {audio.samples.shape[1]}"
                for part, audio in parts.items()
            )
            raise DataError(
                f"The parts of '{self.track.path}' differ in rate, channels or length: {shapes_in_words} samples. "
                "Copy or download it again."
            )
        return {part: Audio(audio.samples[:, : min(lengths)], audio.sample_rate) for part, audio in parts.items()}


def check_tools() -> None:
    """See that what MUSDB18 is decoded with is there.

    Raises:
        DataError: the package musdb, or the program ffmpeg, is not installed.
    """
    missing = [program for program in ("ffmpeg", "ffprobe") if shutil.which(program) is None]
    if missing:  # before musdb is imported, which fails without them
        raise DataError(
            f"MUSDB18 is decoded by ffmpeg, and '{missing[0]}' is not installed. "
            "Install ffmpeg (on Debian: apt-get install ffmpeg)."
        )
    try:
        import_module("musdb")
    except ModuleNotFoundError as error:
        raise DataError(
            f"MUSDB18 is read by the package musdb, and '{error.name}' is not installed. "
            "Install it with `pip install 'querysep[eval]'`."
        ) from error


def _open(track: Track, part: str = "mixture") -> "MultiTrack":
    check_tools()
    import ffmpeg  # the package through which stempeg calls the program
    import musdb

    path = track.file(part)
    try:
        return musdb.MultiTrack(path=str(path), name=track.name, subset=track.subset, is_wav=track.in_wav, stem_id=0)
    except (ffmpeg.Error, KeyError, IndexError, ValueError) as error:
        raise DataError(f"'{path}' is not sound that ffmpeg can read. Copy or download it again.") from error


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
