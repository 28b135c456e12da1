"""From the mask on the model's grid of frames and bins to that of a file's own rate."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from querysep.dsp.streaming_stft import fast_n_fft
from querysep.separation.config import SeparatorConfig

_RELIABLE = 0.95  # of the model's Nyquist frequency; the resampler's slope lies above
_TOP_HZ = 1_000.0  # width of the bands that lead what lies above


class NativeMask:
    """Interpolate mask frames, linearly in time and frequency, as they arrive.

    At the model's own rate the mask passes untouched.

    Args:
        config: the separator's.
        sample_rate: the file's, in Hz.
        device: where to compute.
        lowest_hz: what lies below belongs to no target.

    Attributes:
        n_fft: window length at the file's rate: nearly as long in seconds as the model's.
        hop: samples between frames at the file's rate: nearly as long in seconds as the model's.
    """

    def __init__(self, config: SeparatorConfig, sample_rate: int, device: torch.device, lowest_hz: float = 0.0) -> None:
        self._same = sample_rate == config.sample_rate
        scale = sample_rate / config.sample_rate
        self.n_fft = config.n_fft if self._same else fast_n_fft(config.n_fft * scale)
        self.hop = min(max(1, round(config.hop * scale)), self.n_fft // 2 - 1)
        # native frame k lies at model frame k * _step / _unit
        self._step, self._unit = self.hop * config.sample_rate, config.hop * sample_rate
        self._inaudible = math.ceil(lowest_hz * self.n_fft / sample_rate)  # bins
        self._given = 0
        self._held: Tensor | None = None  # (query, row, freq, frame), from model frame _first on
        self._first = 0
        self._bins(config, sample_rate, device)

    def _bins(self, config: SeparatorConfig, sample_rate: int, device: torch.device) -> None:
        spacing_hz = config.sample_rate / config.n_fft
        frequency_hz = torch.arange(self.n_fft // 2 + 1, dtype=torch.float64) * sample_rate / self.n_fft
        limit_hz = config.sample_rate / 2 * (_RELIABLE if sample_rate > config.sample_rate else 1.0)
        inside = frequency_hz[frequency_hz <= limit_hz + 1e-6] / spacing_hz
        self._low = inside.floor().long().clamp(max=config.n_fft // 2).to(device)
        self._high = (self._low + 1).clamp(max=config.n_fft // 2)
        self._share = (inside - inside.floor()).float().to(device)[:, None]
        self._above = len(frequency_hz) - len(inside)
        self._top = slice(int((limit_hz - _TOP_HZ) / spacing_hz), int(limit_hz / spacing_hz) + 1)

    def _to_native_bins(self, mask: Float[Tensor, "query row freq frame"]) -> Float[Tensor, "query row bin frame"]:
        inside = torch.lerp(mask[..., self._low, :], mask[..., self._high, :], self._share)
        if not self._above:
            return inside
        top = mask[..., self._top, :].mean(dim=-2, keepdim=True)
        return torch.cat((inside, top.expand(*top.shape[:-2], self._above, -1)), dim=-2)

    def push(self, mask: Float[Tensor, "query row freq frame"]) -> None:
        """Take mask frames on the model's grid in."""
        native = mask if self._same else self._to_native_bins(mask)
        if self._inaudible:
            native = functional.pad(native[..., self._inaudible :, :], (0, 0, self._inaudible, 0))
        self._held = native if self._held is None else torch.cat((self._held, native), dim=-1)

    @property
    def ready(self) -> int:
        """Native frames that can be taken now."""
        if self._held is None:
            return 0
        last = self._first + self._held.shape[-1] - 1  # a native frame needs the model frames on both sides
        return max(0, last * self._unit // self._step + 1 - self._given)

    def hold(self) -> None:
        """Let the last mask frame stand for all that follow: the file has ended."""
        if self._held is not None:
            more = -(-self._step // self._unit) + 2
            self.push_native(self._held[..., -1:].expand(*self._held.shape[:-1], more))

    def push_native(self, native: Float[Tensor, "query row freq frame"]) -> None:
        """Take mask frames in that lie on the native bins already."""
        assert self._held is not None
        self._held = torch.cat((self._held, native), dim=-1)

    def take(self, frames: int) -> Float[Tensor, "query row freq frame"]:
        """Give the next native frames, at least one and at most `ready`."""
        assert self._held is not None
        at = torch.arange(self._given, self._given + frames, dtype=torch.int64) * self._step
        self._given += frames
        low = (at // self._unit - self._first).to(self._held.device)
        if self._same:
            native = self._held[..., low]
        else:
            share = ((at % self._unit).double() / self._unit).float().to(self._held.device)
            high = (low + 1).clamp(max=self._held.shape[-1] - 1)
            native = torch.lerp(self._held[..., low], self._held[..., high], share)
        drop = min(self._given * self._step // self._unit - self._first, self._held.shape[-1] - 1)
        self._held, self._first = self._held[..., drop:].clone(), self._first + drop
        return native
