"""The ``musdb18-paper`` and ``musdb18-sisec`` protocols: songs taken apart into vocals, drums, bass and other.

What both have in common, where other people's protocols differ:

- Each of the four stems has one query for all songs, made from MUSDB18's training side only (`stem_conditions`); the
  test side gives nothing to the queries.
- The mixture is MUSDB18's own, not the sum of the stems.
- The figures of a song are medians over its frames, and those of a protocol medians over the songs (never means). A
  frame without a figure is not counted, nor is a song without one.
- The baseline is the same SDR with the mixture in the place of the estimate.
- The whole-file SNR, beside them, is one ratio of energies over all of a song that is measured.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from querysep.data.formats.musdb18 import STEMS, Musdb18, Track, TrackReader, check_tools
from querysep.detection.network import DetectorNetwork
from querysep.detection.windows import embed
from querysep.dsp.stft import istft, stft
from querysep.dsp.streaming_resampler import resample
from querysep.dsp.wiener import wiener
from querysep.errors import ConfigError, DataError
from querysep.evaluation.metrics.bss_eval import METRICS, Figures, bss_eval_v4, sdr_v4_db, sounds
from querysep.evaluation.metrics.intervals import median, median_interval
from querysep.evaluation.metrics.signal import snr_db
from querysep.evaluation.protocols.protocol import Protocol, Row, Summary
from querysep.model import Model, load_model
from querysep.separation.long_file import separate_blocks
from querysep.separation.network import SeparatorNetwork
from querysep.types import Audio, FloatArray

_EXCERPT_S = 10
_BLOCK = 2**17  # samples; the result does not depend on it
BASELINE = "mixture_sdr_v4_db"
SEGMENT_S = 2
LEAST_ENERGY = 0.1  # sum of squares of a segment
TRACKS = 90
SEGMENTS = 15  # of each stem of a track
_BATCH = 5


@dataclass(frozen=True)
class Song:
    """A track as a protocol takes it.

    Attributes:
        mixture: shape (channel, time).
        stems: shape (stem, channel, time), in the order of `STEMS`.
    """

    mixture: FloatArray
    stems: FloatArray


class Musdb18Protocol(Protocol):
    """What both protocols share: a task is a test track, and each of its four stems gives a row.

    It can be pickled: the model does not go along, the queries do once there are any.

    Args:
        data: the folder of MUSDB18 (``.stem.mp4``) or MUSDB18-HQ (WAV), with ``train`` and ``test`` in it.
        model: name of a bundled model, or a weights folder; loaded when it is needed.
        device: "auto", "cpu", "cuda" or "mps".

    Raises:
        DataError: the folder does not hold MUSDB18, or musdb or ffmpeg is not installed.
    """

    version = 1
    headline = "sdr_v4_db"
    sample_rate: int
    frame_s: int

    def __init__(self, data: str | Path, model: str | Path = "default", *, device: str = "auto") -> None:
        check_tools()
        self._data = Musdb18(Path(data))
        self._named, self._device = str(model), device
        self._loaded: Model | None = None
        self._conditions: Tensor | None = None
        self.data_hash = self._data.fingerprint()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}

    def settings(self) -> Mapping[str, object]:
        """Return what else decides the figures."""
        return {
            "layout": self._data.layout,
            "tracks": len(self._data.test),
            "query_tracks": min(TRACKS, len(self._data.train)),
            "query_segments": SEGMENTS,  # the loudest of each stem of a track
        }

    def tasks(self) -> Sequence[str]:
        """Return the names of the test tracks."""
        return [track.name for track in self._data.test]

    def prepare(self) -> None:
        """Make the queries, unless they are there; call it before this is sent to other processes, to do it once.

        Raises:
            DataError: a training track cannot be read, or a stem sounds in none of them.
            WeightsError: there is no such model, or it is damaged.
        """
        if self._conditions is None:
            model = self._model()
            self._conditions = stem_conditions(model.detector, model.device, self._data.train).cpu()

    def measure(self, task: str) -> list[Row]:
        """Separate a track and measure its four stems.

        Raises:
            DataError: the track cannot be decoded.
        """
        self.prepare()
        song = self._song(self._track(task))
        estimates = self._separate(song.mixture)
        figures = self._measure(song, estimates)
        return [self._row(task, index, song, estimates[index], figures) for index in range(len(STEMS))]

    def summarise(self, rows: Sequence[Row]) -> list[Summary]:
        """Return the medians over tracks, a summary for each stem, with bootstrap intervals of the SDR's."""
        summaries = []
        for stem in STEMS:
            found = [row.values for row in rows if row.label == stem]
            columns = {name: np.array([values[name] for values in found]) for name in (found[0] if found else ())}
            if not columns:
                continue
            counted = columns[self.headline][np.isfinite(columns[self.headline])]
            summaries.append(
                Summary(
                    name=stem,
                    count=len(counted),
                    values={name: median(column) for name, column in columns.items()},
                    intervals={self.headline: median_interval(counted)} if len(counted) else {},
                )
            )
        return summaries

    def sounds(self, row: Row) -> dict[str, Audio]:
        """Return 10 s of the mixture, the stem and its estimate, where the stem is loudest; separated on their own."""
        self.prepare()
        song, index = self._song(self._track(row.task)), STEMS.index(row.label)
        size = self.frame_s * self.sample_rate
        stem = song.stems[index]
        frames = np.square(stem[:, : stem.shape[1] // size * size]).sum(axis=0).reshape(-1, size).sum(axis=1)
        length = _EXCERPT_S // self.frame_s
        energies = np.convolve(frames, np.ones(length), mode="valid") if len(frames) > length else np.ones(1)
        start = int(np.argmax(energies)) * size
        part = slice(start, start + length * size)
        mixture = np.ascontiguousarray(song.mixture[:, part])
        return {
            "mixture": Audio(mixture, self.sample_rate),
            "target": Audio(np.ascontiguousarray(stem[:, part]), self.sample_rate),
            "estimate": Audio(np.ascontiguousarray(self._separate(mixture)[index]), self.sample_rate),
        }

    def _model(self) -> Model:
        if self._loaded is None:
            self._loaded = load_model(self._named, self._device)
        return self._loaded

    def _track(self, name: str) -> Track:
        return next(track for track in self._data.test if track.name == name)

    def _wanted(self, device: torch.device) -> Tensor:
        assert self._conditions is not None
        return self._conditions.to(device)

    def _row(self, task: str, index: int, song: Song, estimate: FloatArray, figures: Mapping[str, Figures]) -> Row:
        counted = int(np.isfinite(figures[self.headline][index]).sum())
        return Row(
            task=task,
            group="test",
            label=STEMS[index],
            values={
                **{name: median(values[index]) for name, values in figures.items()},
                "snr_db": snr_db(song.stems[index], estimate),
            },
            facts={"track": task, "frames": f"{counted} of {figures[self.headline].shape[1]}"},
        )

    @abstractmethod
    def _song(self, track: Track) -> Song:
        """Decode a track and bring it to the protocol's form."""

    @abstractmethod
    def _separate(self, mixture: FloatArray) -> FloatArray:
        """Return estimates of the stems, shape (stem, channel, time), for a mixture of shape (channel, time)."""

    @abstractmethod
    def _measure(self, song: Song, estimates: FloatArray) -> dict[str, Figures]:
        """Return figures of every stem in every frame, shape (stem, frame), NaN where there are none."""


class Musdb18Paper(Musdb18Protocol):
    """The paper's protocol, as the published code has it.

    - Mono (the mean of the channels) at 32 kHz; mixture and stems are resampled alike. The model must work at 32 kHz.
    - Chunks of 2 s from the beginning, without overlap, each separated on its own; what is left at the end, shorter
      than a chunk, is dropped.
    - In each chunk the four masked magnitudes are refined jointly: a soft (ratio) mask and one round of
      expectation-maximisation (one iteration, scale factor 8, eps 1e-9), then the mixture's phase and overlap-add.
    - Each stem is measured in each chunk by BSS Eval version 4 with a window as long as the chunk. A chunk in which the
      stem or its estimate is digital silence is dropped for that stem, and only for that stem. (The published code asks
      whether the samples' sum is zero, which is the same but for chance.) Nothing else is dropped: a chunk with a
      breath of sound counts, and its SDR may be far below zero.
    - SIR and SAR, which the paper does not report, see the stems that sound in the chunk as each other's interference.

    What differs from the published code: the resampler (soxr for librosa's), and which 30 s of each training stem a
    query is made from (theirs are not published; ours are those of `stem_conditions`).
    """

    name = "musdb18-paper"
    sample_rate = 32_000
    frame_s = 2

    def _model(self) -> Model:
        model = super()._model()
        rate = model.separator.config.sample_rate
        if rate != self.sample_rate:
            raise ConfigError(
                f"{self.name} is defined at 32 kHz; the model '{self._named}' works at {rate} Hz. Use musdb18-sisec."
            )
        return model

    def _song(self, track: Track) -> Song:
        reader = TrackReader(track)
        waves = [self._mono(audio) for audio in reader.read_together().values()]
        return Song(waves[0][None], np.stack(waves[1:])[:, None])

    def _mono(self, audio: Audio) -> FloatArray:
        wave = resample(audio.mono[None], audio.sample_rate, self.sample_rate)[0]
        size = self.frame_s * self.sample_rate
        return np.ascontiguousarray(wave[: len(wave) // size * size])

    def _separate(self, mixture: FloatArray) -> FloatArray:
        model = self._model()
        size = self.frame_s * self.sample_rate
        return separate_chunks(model.separator, self._wanted(model.device), mixture[0], size)[:, None]

    def _measure(self, song: Song, estimates: FloatArray) -> dict[str, Figures]:
        size = self.frame_s * self.sample_rate
        chunks = song.mixture.shape[1] // size
        figures = {name: np.full((len(STEMS), chunks), np.nan) for name in (*METRICS, BASELINE)}
        for chunk in range(chunks):
            part = slice(chunk * size, (chunk + 1) * size)
            true, guess = song.stems[..., part], estimates[..., part]
            kept = [index for index in range(len(STEMS)) if sounds(true[index]) and sounds(guess[index])]
            if not kept:
                continue
            for name, values in bss_eval_v4(true[kept], guess[kept], size).named().items():
                figures[name][kept, chunk] = values[:, 0]
            figures[BASELINE][kept, chunk] = [sdr_v4_db(true[index], song.mixture[:, part]) for index in kept]
        return figures


class Musdb18Sisec(Musdb18Protocol):
    """The protocol of SiSEC 2018 and of the usual MUSDB18 tables.

    - Stereo at 44.1 kHz, the whole song, by the masks of `querysep separate`: overlapping, one for both channels,
      applied at 44.1 kHz; each query on its own, without a joint step. Nothing is silenced for a low presence score.
    - BSS Eval version 4 on the four stems together: distortion filters fitted once to the whole song, frames of 1 s
      without overlap, what is left at the end dropped. A frame in which any stem or estimate is digital silence has no
      figures for any stem. That is museval's ``eval_mus_track`` for these four targets.
    - A stem that is silent in the whole song is left out of it (museval refuses such a song) and has no figures; the
      other three are measured as if there were only three.
    """

    name = "musdb18-sisec"
    sample_rate = 44_100
    frame_s = 1

    def _song(self, track: Track) -> Song:
        parts = TrackReader(track).read_together()
        mixture = parts.pop("mixture")
        if mixture.sample_rate != self.sample_rate or mixture.samples.shape[0] != 2:
            raise DataError(
                f"{self.name} is defined for stereo at 44.1 kHz; '{track.path}' has {mixture.samples.shape[0]} "
                f"channels at {mixture.sample_rate} Hz. Use MUSDB18 as it is distributed."
            )
        return Song(mixture.samples, np.stack([parts[stem].samples for stem in STEMS]))

    def _separate(self, mixture: FloatArray) -> FloatArray:
        model = self._model()
        estimates = np.zeros((len(STEMS), *mixture.shape), np.float32)
        blocks = (mixture[:, start : start + _BLOCK] for start in range(0, mixture.shape[1], _BLOCK))
        done = 0
        for piece in separate_blocks(model.separator, self._wanted(model.device), blocks, self.sample_rate):
            estimates[..., done : done + piece.shape[-1]] = piece
            done += piece.shape[-1]
        return estimates

    def _measure(self, song: Song, estimates: FloatArray) -> dict[str, Figures]:
        size = min(self.sample_rate * self.frame_s, song.mixture.shape[1])
        frames = song.mixture.shape[1] // size
        figures = {name: np.full((len(STEMS), frames), np.nan) for name in (*METRICS, BASELINE)}
        kept = [index for index in range(len(STEMS)) if sounds(song.stems[index]) and sounds(estimates[index])]
        if not kept:
            return figures
        measured = bss_eval_v4(song.stems[kept], estimates[kept], size).named()
        for name, values in measured.items():
            figures[name][kept] = values
        for frame in np.flatnonzero(np.isfinite(measured[self.headline]).any(axis=0)):
            part = slice(frame * size, (frame + 1) * size)
            figures[BASELINE][kept, frame] = [
                sdr_v4_db(song.stems[index][:, part], song.mixture[:, part]) for index in kept
            ]
        return figures


def stem_conditions(
    detector: DetectorNetwork, device: torch.device, tracks: Sequence[Track]
) -> Float[Tensor, "stem condition_dim"]:
    """Average the latent embeddings of the training stems, as the paper does.

    Of the first 90 tracks by name (as many as the published code takes), each stem is averaged over its channels,
    resampled to the detector's rate and cut into segments of 2 s from its beginning; the tail is dropped, and so are
    segments whose sum of squares is at most 0.1. Of those that are left the 15 with most energy are embedded: 30 s of
    each stem. (The authors took highlights of 30 s without silence; which ones is not published.) The condition is the
    mean over tracks of the mean over a track's segments. A track in which a stem never sounds does not count for it.

    Args:
        detector: in eval mode, on the device.
        device: where to compute.
        tracks: of the training side, by name.

    Returns:
        One condition for each of `STEMS`, in their order, on the device.

    Raises:
        DataError: a track cannot be read, or a stem sounds in none of them.
    """
    means: dict[str, list[Tensor]] = {stem: [] for stem in STEMS}
    chosen = tracks[:TRACKS]
    for track in chosen:
        reader = TrackReader(track)
        for stem in STEMS:
            audio = reader.read(stem)
            wave = resample(audio.mono[None], audio.sample_rate, detector.config.sample_rate)[0]
            vector = mean_embedding(detector, device, wave)
            if vector is not None:
                means[stem].append(vector)
    silent_stems = [stem for stem, vectors in means.items() if not vectors]
    if silent_stems:
        raise DataError(
            f"No training track has 2 s of {', '.join(silent_stems)} to make a query from (looked at {len(chosen)} "
            "tracks). Give the whole of MUSDB18."
        )
    return torch.stack([torch.stack(means[stem]).mean(dim=0) for stem in STEMS])


def mean_embedding(
    detector: DetectorNetwork, device: torch.device, wave: FloatArray
) -> Float[Tensor, "condition_dim"] | None:
    """Return the mean latent embedding of a wave's loud segments, or None where it has none.

    Args:
        detector: in eval mode, on the device.
        device: where to compute.
        wave: shape (time,), at the detector's rate.
    """
    segments = torch.from_numpy(loud_segments(wave, SEGMENT_S * detector.config.sample_rate))
    if not len(segments):
        return None
    vectors = [embed(detector, part.to(device)) for part in torch.split(segments, _BATCH)]
    return torch.cat(vectors).mean(dim=0)


def loud_segments(wave: FloatArray, size: int) -> FloatArray:
    """Cut a wave into segments and choose the loudest, at most 15, that are not silent.

    Args:
        wave: shape (time,).
        size: of a segment, in samples.

    Returns:
        Shape (segment, size), in the order of time; there may be none.
    """
    segments = wave[: len(wave) // size * size].reshape(-1, size)
    energies = np.square(segments).sum(axis=1)
    loudest = np.sort(np.argsort(-energies, kind="stable")[:SEGMENTS])
    loud = loudest[energies[loudest] > LEAST_ENERGY]
    return np.ascontiguousarray(segments[loud])


def separate_chunks(
    network: SeparatorNetwork, conditions: Float[Tensor, "stem condition_dim"], mixture: FloatArray, size: int
) -> FloatArray:
    """Separate a mixture in chunks that follow each other.

    Args:
        network: the separator, in eval mode.
        conditions: one for each stem, on the network's device.
        mixture: shape (time,), at the network's rate; a multiple of the size.
        size: of a chunk, in samples.

    Returns:
        Shape (stem, time).
    """
    chunks = torch.from_numpy(mixture.reshape(-1, size))
    estimates = [separate_chunk(network, conditions, chunk).numpy() for chunk in chunks]
    empty = np.zeros((conditions.shape[0], 0), np.float32)
    return np.concatenate([empty, *estimates], axis=1)


@torch.inference_mode()
def separate_chunk(
    network: SeparatorNetwork, conditions: Float[Tensor, "stem condition_dim"], mixture: Float[Tensor, "time"]
) -> Float[Tensor, "stem time"]:
    """Separate one chunk: a mask for each stem, then the joint Wiener step on the masked magnitudes.

    Masks are estimated one at a time, on the network's device, so that memory does not grow with the stems; the rest
    happens on the CPU, since complex tensors are incomplete on Apple's GPUs.

    Args:
        network: the separator, in eval mode.
        conditions: one for each stem, on the network's device.
        mixture: on the CPU, more than n_fft // 2 samples.
    """
    config = network.config
    spectrogram = stft(mixture, config.n_fft, config.hop)
    magnitude = spectrogram.abs()
    given = magnitude[None].to(conditions.device)
    masks = torch.cat([network.mask_of_magnitude(given, condition[None]).cpu() for condition in conditions])
    joint = wiener(
        rearrange(masks * magnitude, "stem f t -> t f 1 stem"), rearrange(spectrogram, "f t -> t f 1"), iterations=1
    )
    return istft(rearrange(joint, "t f 1 stem -> stem f t"), config.n_fft, config.hop, mixture.shape[0])
