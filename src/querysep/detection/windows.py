"""The detector on any length of sound: overlapping windows, and a presence map in real time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from querysep.detection.network import Detection, DetectorNetwork
from querysep.dsp.level import Silence, SoundSections, quiet_gain, swing

_BATCH = 8
_PAUSE_S = 2.0  # silence that is longer is not given to the network


@dataclass(frozen=True)
class PresenceMap:
    """Framewise probabilities of a recording, aligned to its time.

    Attributes:
        framewise: shape (class, frame), float32; frame k covers k * frame_s to (k + 1) * frame_s.
        frame_s: length of a frame, seconds.
        duration_s: length of the recording, seconds; the last frame may reach beyond it.
        clipwise: shape (class,), float32; the largest of any window.
    """

    framewise: NDArray[np.float32]
    frame_s: float
    duration_s: float
    clipwise: NDArray[np.float32]


def lengthen(wave: Float[Tensor, "batch time"], shortest: int) -> Float[Tensor, "batch time2"]:
    """Repeat a wave that has fewer than ``shortest`` samples until it has; others come back as they are."""
    time = wave.shape[-1]
    return wave if time >= shortest else wave.repeat(1, -(-shortest // time))[:, :shortest]


@torch.inference_mode()
def embed(network: DetectorNetwork, segments: Float[Tensor, "batch time"]) -> Float[Tensor, "batch latent_dim"]:
    """Return the latent embedding of segments of any length.

    Args:
        network: the detector, in eval mode.
        segments: shape (batch, time), mono at the detector's rate, at least one sample. Under one STFT window the
            sound is repeated; over one network window (config.window_s) it is cut in equal parts and averaged.
    """
    return _detect_parts(network, segments)[0]


@torch.inference_mode()
def profile(network: DetectorNetwork, segments: Float[Tensor, "batch time"]) -> Float[Tensor, "batch class"]:
    """Return the clipwise probabilities of segments of any length, cut and averaged as ``embed`` does."""
    return _detect_parts(network, segments)[1]


@torch.inference_mode()
def embed_and_profile(network: DetectorNetwork, segments: Float[Tensor, "batch time"]) -> tuple[Tensor, Tensor]:
    """Return what ``embed`` and ``profile`` return, in one pass."""
    return _detect_parts(network, segments)


def _detect_parts(network: DetectorNetwork, segments: Tensor) -> tuple[Tensor, Tensor]:
    longest = network.config.window_time
    parts = -(-segments.shape[-1] // longest)
    size = -(-segments.shape[-1] // parts)
    latents, clipwises = [], []
    for part in torch.split(segments, size, dim=-1):
        detection = network(lengthen(part, network.config.n_fft))
        latents.append(detection.latent)
        clipwises.append(detection.clipwise)
    return torch.stack(latents).mean(dim=0), torch.stack(clipwises).mean(dim=0)


@dataclass(frozen=True)
class Heard:
    """What the detector hears in a recording.

    Attributes:
        presence: the presence map.
        latent: shape (latent_dim,), float32: the latent embedding of the whole, where one window holds it; else None.
    """

    presence: PresenceMap
    latent: NDArray[np.float32] | None


def detect_together(
    network: DetectorNetwork, waves: Sequence[NDArray[np.float32]], device: torch.device | str = "cpu"
) -> Detection:
    """Run the network once on windows of different lengths, each shape (time,), at most config.window_s long."""
    windows = [torch.from_numpy(np.ascontiguousarray(wave))[None].to(device) for wave in waves]
    return network.detect_together([lengthen(window, network.config.n_fft)[0] for window in windows])


@torch.inference_mode()
def hear(
    network: DetectorNetwork,
    waves: Sequence[NDArray[np.float32]],
    device: torch.device | str = "cpu",
    batch: int = _BATCH,
) -> list[Heard]:
    """Hear several recordings of any lengths, their windows in common batches.

    Args:
        network: the detector, in eval mode.
        waves: each of shape (time,), mono at the detector's rate, at least one sample.
        device: where the network is.
        batch: windows in one pass.

    Returns:
        For each recording, the presence map that a ``PresenceStream`` of its own gives.
    """
    streams = [PresenceStream(network, device, batch=0) for _ in waves]
    totals = []
    for stream, wave in zip(streams, waves, strict=True):
        stream.push(wave)
        totals.append(stream.close())
    windows = [(stream, start, window) for stream in streams for start, window in stream.waiting]
    latents: dict[int, NDArray[np.float32]] = {}
    for first in range(0, len(windows), batch):
        part = windows[first : first + batch]
        detection = detect_together(network, [window for _, _, window in part], device)
        rows = zip(*(_rows(x) for x in (detection.framewise, detection.clipwise, detection.latent)), strict=True)
        for (stream, start, window), (framewise, clipwise, latent) in zip(part, rows, strict=True):
            stream.take(start, window.shape[0], framewise, clipwise)
            latents[id(stream)] = latent
    return [
        Heard(stream.map_of(total), latents[id(stream)] if len(stream.waiting) == 1 else None)
        for stream, total in zip(streams, totals, strict=True)
    ]


@torch.inference_mode()
def embed_together(
    network: DetectorNetwork,
    waves: Sequence[NDArray[np.float32]],
    device: torch.device | str = "cpu",
    batch: int = _BATCH,
) -> NDArray[np.float32]:
    """Return the latent embeddings of sounds of different lengths: what ``embed`` gives of each alone.

    Args:
        network: the detector, in eval mode.
        waves: each of shape (time,), mono at the detector's rate, at least one sample.
        device: where the network is.
        batch: sounds in one pass.

    Returns:
        Shape (wave, latent_dim).
    """
    longest = network.config.window_time
    found = np.zeros((len(waves), network.config.latent_dim), dtype=np.float32)
    short = [index for index, wave in enumerate(waves) if wave.shape[0] <= longest]
    for first in range(0, len(short), batch):
        part = short[first : first + batch]
        found[part] = _rows(detect_together(network, [waves[index] for index in part], device).latent)
    for index in set(range(len(waves))).difference(short):
        found[index] = _rows(embed(network, torch.from_numpy(waves[index][None]).to(device))[0])
    return found


def _rows(tensor: Tensor) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = tensor.float().cpu().numpy()
    return rows


class PresenceStream:
    """Build a presence map from blocks, in memory that grows only with the map itself.

    Windows of the network's full length start every half window; the last is moved back to end with the recording.
    Where windows overlap, frames far from a window's edge weigh more. Silence (below -90 dBFS) at either end, or for
    more than 2 s, has no class and is not given to the network; windows begin anew after it. A quiet recording is
    brought up by one gain, see ``querysep.dsp.level.quiet_gain``.
    """

    def __init__(self, network: DetectorNetwork, device: torch.device | str = "cpu", batch: int = _BATCH) -> None:
        """Begin; with ``batch=0`` the windows stay in ``waiting`` for the caller to run."""
        self._network = network
        self._batch = batch
        self._device = torch.device(device)
        config = network.config
        self._window, self._frame = config.window_time, config.frame_time
        self._stride = max(1, config.map_frames // 2) * self._frame
        self._sections = SoundSections(1, round(_PAUSE_S * config.sample_rate))
        self._buffer = np.zeros(0, dtype=np.float32)
        self._start = 0  # of the buffer, samples
        self._loudest = 0.0
        self._pushed = 0
        self.waiting: list[tuple[int, NDArray[np.float32]]] = []
        self._sums: NDArray[np.float64] = np.zeros((config.classes, 64))
        self._weights: NDArray[np.float64] = np.zeros(64)
        self._clipwise: NDArray[np.float32] = np.zeros(config.classes, dtype=np.float32)
        self._tail = np.zeros(0, dtype=np.float32)  # the last window's worth of samples
        self._windows = 0  # of this section of sound

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples, shape (time,), mono at the detector's rate."""
        self._pushed += samples.shape[0]
        for piece in self._sections.push(samples[None]):
            self._add(piece)

    def _add(self, piece: NDArray[np.float32] | Silence) -> None:
        if isinstance(piece, Silence):
            self._start = self._end_section() + piece.time
            self._buffer, self._windows = self._buffer[:0], 0
            return
        self._buffer = np.concatenate((self._buffer, piece[0]))
        while self._buffer.shape[0] >= self._window:
            self._queue(self._start, self._buffer[: self._window])
            self._tail = self._buffer[: self._window]
            self._buffer = self._buffer[self._stride :]
            self._start += self._stride

    def finish(self) -> PresenceMap:
        """Return the map of all that was pushed.

        Raises:
            ValueError: nothing was pushed.
        """
        total = self.close()
        self._run()
        return self.map_of(total)

    def close(self) -> int:
        """Queue the last window and return the length of all that was pushed, samples; nothing may be pushed after."""
        if self._pushed == 0:
            raise ValueError("a presence map needs at least one sample")
        for piece in self._sections.finish():
            self._add(piece)
        self._end_section()
        return self._pushed

    def _end_section(self) -> int:
        """Queue the last window of a section of sound, if there is one, and return where it ends."""
        total = self._start + self._buffer.shape[0]
        if self._windows == 0:
            if self._buffer.shape[0]:
                self._queue(self._start, self._buffer)
        elif total > self._start - self._stride + self._window:
            new = total - (self._start - self._stride + self._window)
            joined = np.concatenate((self._tail, self._buffer[-new:]))
            self._queue(total - self._window, joined[-self._window :])
        return total

    def map_of(self, total: int) -> PresenceMap:
        """Return the map of ``total`` samples, once all windows were taken."""
        frames = -(-total // self._frame)
        self._grow(frames)
        rate = self._network.config.sample_rate
        framewise = self._sums[:, :frames] / np.maximum(self._weights[:frames], 1e-12)
        return PresenceMap(framewise.astype(np.float32), self._frame / rate, total / rate, self._clipwise)

    def _queue(self, start: int, window: NDArray[np.float32]) -> None:
        self._windows += 1
        self._loudest = max(self._loudest, swing(window))
        if self._batch and self.waiting and len(self.waiting[0][1]) != len(window):
            self._run()
        self.waiting.append((start, window * np.float32(quiet_gain(self._loudest))))
        if len(self.waiting) == self._batch:
            self._run()

    @torch.inference_mode()
    def _run(self) -> None:
        if not self.waiting:
            return
        wave = torch.from_numpy(np.stack([window for _, window in self.waiting])).to(self._device)
        detection = self._network(lengthen(wave, self._network.config.n_fft))
        rows = zip(_rows(detection.framewise), _rows(detection.clipwise), strict=True)
        for (start, window), (framewise, clipwise) in zip(self.waiting, rows, strict=True):
            self.take(start, window.shape[0], framewise, clipwise)
        self.waiting.clear()

    def take(self, start: int, time: int, window_map: NDArray[np.float32], clipwise: NDArray[np.float32]) -> None:
        """Add what the network says of a window of ``time`` samples from ``start`` on: (class, frame), (class,)."""
        self._clipwise = np.maximum(self._clipwise, clipwise)
        first, last = start // self._frame, -(-(start + time) // self._frame)
        self._grow(last)
        centres = np.clip((np.arange(first, last) + 0.5) * self._frame - start, 0, time - 1)
        sampled = self._network.sample_map(window_map, centres, time)
        weight = np.minimum(centres, time - centres) / time + 1e-3
        self._sums[:, first:last] += sampled * weight
        self._weights[first:last] += weight

    def _grow(self, frames: int) -> None:
        size = self._weights.shape[0]
        if frames > size:
            more = max(frames - size, size)
            self._sums = np.pad(self._sums, ((0, 0), (0, more)))
            self._weights = np.pad(self._weights, (0, more))
