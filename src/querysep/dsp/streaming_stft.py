"""The same transform as `querysep.dsp.stft`, for sound that arrives in blocks."""

import torch
from einops import rearrange
from jaxtyping import Complex, Float
from torch import Tensor
from torch.nn import functional

from querysep.dsp.stft import hann


def fast_n_fft(wanted: float) -> int:
    """Return the even length nearest to ``wanted`` that has no prime factor above 7, at least 4.

    Such lengths transform fast; they lie within about 2 % of any wanted length above 64.
    """
    best = 4
    length = 2
    while length <= 2 * max(wanted, 4):
        rest = length
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and length >= 4 and abs(length - wanted) < abs(best - wanted):
            best = length
        length += 2
    return best


class StreamingStft:
    """Centred STFT, reflected at both ends; memory grows only with frames that were not taken yet.

    Args:
        channels: rows of the input.
        n_fft: window length in samples, even.
        hop: samples between frames, below n_fft // 2.
        device: where to compute.
    """

    def __init__(self, channels: int, n_fft: int, hop: int, device: torch.device) -> None:
        if n_fft % 2 or not 0 < hop < n_fft // 2:
            raise ValueError(f"n_fft must be even and hop below its half; got {n_fft} and {hop}")
        self.n_fft, self.hop = n_fft, hop
        self._half = n_fft // 2
        self._window = hann(n_fft, device)
        self._buffer = torch.zeros(channels, 0, dtype=torch.float32, device=device)
        self._begun = False

    @property
    def ready(self) -> int:
        """Frames that can be taken now."""
        if not self._begun or self._buffer.shape[-1] < self.n_fft:
            return 0
        return (self._buffer.shape[-1] - self.n_fft) // self.hop + 1

    def push(self, samples: Float[Tensor, "channel time"]) -> None:
        """Take any number of samples in."""
        self._buffer = torch.cat((self._buffer, samples), dim=-1)
        if not self._begun and self._buffer.shape[-1] > self._half:
            self._begin()

    def _begin(self) -> None:
        mirrored = self._buffer[:, 1 : self._half + 1].flip(-1)
        self._buffer = torch.cat((mirrored, self._buffer), dim=-1)
        self._begun = True

    def finish(self) -> None:
        """Add the reflected end. Sound of at most n_fft // 2 samples is first lengthened by zeros."""
        if not self._begun:
            self._buffer = functional.pad(self._buffer, (0, self._half + 1 - self._buffer.shape[-1]))
            self._begin()
        mirrored = self._buffer[:, -self._half - 1 : -1].flip(-1)
        self._buffer = torch.cat((self._buffer, mirrored), dim=-1)

    def take(self, frames: int) -> Complex[Tensor, "channel freq frame"]:
        """Give the next frames, at most `ready`."""
        if frames > self.ready:
            raise ValueError(f"{self.ready} frames are ready; {frames} were asked for")
        channels = self._buffer.shape[0]
        if frames == 0:
            return torch.zeros(channels, self._half + 1, 0, dtype=torch.complex64, device=self._buffer.device)
        stretch = self._buffer[:, : (frames - 1) * self.hop + self.n_fft]
        windows = stretch.unfold(-1, self.n_fft, self.hop)
        self._buffer = self._buffer[:, frames * self.hop :].clone()  # a view would hold the old samples
        spectrogram: Tensor = rearrange(torch.fft.rfft(windows * self._window), "channel frame f -> channel f frame")
        return spectrogram


class StreamingIstft:
    """Least-squares overlap-add of the frames of a centred STFT, as ``torch.istft``.

    Args:
        n_fft: window length in samples, even.
        hop: samples between frames, below n_fft // 2.
        device: where to compute.
    """

    def __init__(self, n_fft: int, hop: int, device: torch.device) -> None:
        self.n_fft, self.hop = n_fft, hop
        self._window = hann(n_fft, device)
        self._sum: Tensor | None = None  # (row, time) not finished yet, windowed
        self._weight = torch.zeros(0, dtype=torch.float32, device=device)  # (time,) sum of the squared windows
        self._skip = n_fft // 2  # samples before the first are the reflected ones

    def push(self, spectrogram: Complex[Tensor, "row freq frame"]) -> Float[Tensor, "row time"]:
        """Take frames in, give the samples that no later frame can change."""
        rows, _, frames = spectrogram.shape
        if frames == 0:
            return torch.zeros(rows, 0, device=self._weight.device)
        length = (frames - 1) * self.hop + self.n_fft
        windows = torch.fft.irfft(spectrogram, n=self.n_fft, dim=-2) * self._window[:, None]
        added = self._overlap(windows, length)
        weight = self._overlap((self._window.square()[:, None]).expand(1, -1, frames), length)[0]
        if self._sum is not None:
            added[:, : self._sum.shape[-1]] += self._sum
            weight[: self._weight.shape[-1]] += self._weight
        done = frames * self.hop
        self._sum, self._weight = added[:, done:].clone(), weight[done:].clone()
        return self._give(added[:, :done], weight[:done])

    def _overlap(self, windows: Float[Tensor, "row window frame"], length: int) -> Float[Tensor, "row time"]:
        return functional.fold(windows, (1, length), (1, self.n_fft), stride=(1, self.hop))[:, 0, 0]

    def _give(self, added: Tensor, weight: Tensor) -> Tensor:
        samples = (added / weight.clamp(min=1e-11))[:, self._skip :]
        self._skip = max(0, self._skip - added.shape[-1])
        return samples

    def finish(self) -> Float[Tensor, "row time"]:
        """Give the rest: n_fft - hop samples, of which the caller cuts off what lies beyond the sound's end.

        At least one frame must have been pushed.
        """
        if self._sum is None:
            raise ValueError("no frame was pushed")
        return self._give(self._sum, self._weight)
