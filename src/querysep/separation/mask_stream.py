"""The mask of a long file: estimated in overlapping chunks on a fixed grid, cross-faded between them."""

from collections.abc import Callable, Sequence

import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from querysep.dsp.stft import stft
from querysep.separation.mask_rule import MaskRule
from querysep.separation.network import SeparatorNetwork

NETWORK_BATCH = 8  # rows in one call of the network: bounds memory

Gate = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Says how much of each condition's mask counts, 0..1, shape (condition, frame or 1).

It is given each chunk in order: where it starts in samples, its wave of shape (row, time), both at the model's rate,
its masks of shape (condition, row, freq, frame), and the network's own log-odds that what each condition means is
there, shape (condition,), 0 from a network that has no say.
"""


class MaskStream:
    """Samples at the model's rate in, mask frames out, in order and without gaps.

    Chunk i starts at i * stride. Two neighbours share ``overlap_s``, over which one mask fades into the other. The last
    chunk starts early enough to end with the file, so it sees as much sound as any other.

    Args:
        network: the separator, in evaluation mode.
        conditions: shape (query, condition_dim).
        rule: how their masks become those of the targets.
        gate: how much of each condition's mask counts; without one, all of it.
    """

    def __init__(
        self,
        network: SeparatorNetwork,
        conditions: Float[Tensor, "query condition_dim"],
        rule: MaskRule,
        gate: Gate | None = None,
    ) -> None:
        config = network.config
        self._network, self._conditions, self._rule, self._gate = network, conditions, rule, gate
        self._hop, self._n_fft = config.hop, config.n_fft
        least = -(-config.n_fft // config.hop)
        frames = max(round(config.chunk_s * config.sample_rate / config.hop), least)
        self._chunk = frames * config.hop
        self._overlap = min(round(config.overlap_s * config.sample_rate / config.hop), frames // 2) * config.hop
        self._stride = self._chunk - self._overlap
        self._buffer: Tensor | None = None  # (row, time) from the start of the chunk before the next one
        self._start = 0  # where the buffer starts, in samples
        self._next = 0  # where the next chunk of the grid starts, in samples
        self._tail: Tensor | None = None  # mask frames that wait to be faded into the next chunk's

    @property
    def chunk(self) -> int:
        """Length of a chunk in samples, at the model's rate."""
        return self._chunk

    def push(self, samples: Float[Tensor, "row time"]) -> list[Float[Tensor, "target row freq frame"]]:
        """Take samples in, give the mask frames that are ready, in order."""
        self._buffer = samples if self._buffer is None else torch.cat((self._buffer, samples), dim=-1)
        done = []
        while starts := self._grid_chunks(self._start + self._buffer.shape[-1]):
            chunks = torch.stack([self._cut(start, start + self._chunk) for start in starts])
            for start, mask in zip(starts, self._masks(starts, chunks), strict=True):
                faded = self._fade(mask)
                keep = self._stride // self._hop
                done.append(faded[..., :keep])
                self._tail = faded[..., keep:]
                self._next = start + self._stride
            self._buffer = self._buffer[:, starts[-1] - self._start :].clone()  # a view would hold the old samples
            self._start = starts[-1]
        return done

    def finish(self) -> list[Float[Tensor, "target row freq frame"]]:
        """Give the rest; time // hop + 1 frames in all."""
        if self._buffer is None:
            return []
        total = self._start + self._buffer.shape[-1]
        if self._tail is not None and total == self._next + self._overlap:
            return [self._tail]
        start = max(0, -(-(total - self._chunk) // self._hop) * self._hop)
        wave = self._cut(start, total)
        wave = functional.pad(wave, (0, max(0, self._n_fft - wave.shape[-1])))
        mask = self._masks([start], wave[None])[0]
        return [self._fade(mask[..., (self._next - start) // self._hop : (total - start) // self._hop + 1])]

    def _grid_chunks(self, total: int) -> list[int]:
        """Starts of the chunks that are complete, as many as one call of the network takes."""
        assert self._buffer is not None
        rows = self._buffer.shape[0] * self._conditions.shape[0]
        most = max(1, NETWORK_BATCH // rows)
        starts = range(self._next, total - self._chunk + 1, self._stride)
        return list(starts[:most])

    def _cut(self, start: int, stop: int) -> Float[Tensor, "row time"]:
        assert self._buffer is not None
        return self._buffer[:, start - self._start : stop - self._start]

    def _masks(
        self, starts: Sequence[int], waves: Float[Tensor, "chunk row time"]
    ) -> Float[Tensor, "chunk target row freq frame"]:
        chunks, rows, _ = waves.shape
        queries = self._conditions.shape[0]
        magnitude = stft(rearrange(waves, "chunk row time -> (chunk row) time"), self._n_fft, self._hop).abs()
        heard = [self._network.listen(part) for part in torch.split(magnitude, NETWORK_BATCH)]
        once = [torch.cat(parts) for parts in zip(*heard, strict=True)]
        places = torch.arange(chunks * rows, device=magnitude.device)
        which = repeat(places, "(chunk row) -> (chunk query row)", row=rows, query=queries)
        conditions = repeat(self._conditions, "query dim -> (chunk query row) dim", chunk=chunks, row=rows)
        parts = zip(torch.split(which, NETWORK_BATCH), torch.split(conditions, NETWORK_BATCH), strict=True)
        answers = [
            self._network.answer([one[place] for one in once], condition, magnitude.shape[-1])
            for place, condition in parts
        ]
        masks = rearrange(torch.cat(answers), "(chunk query row) f t -> chunk query row f t", chunk=chunks, row=rows)
        if self._gate is not None:
            logits = self._network.presence_logits(once, self._conditions)
            if logits is None:
                logits = magnitude.new_zeros(chunks * rows, queries)
            matches = rearrange(logits.float(), "(chunk row) query -> chunk row query", row=rows).amax(dim=1)
            gains = [self._gate(*chunk) for chunk in zip(starts, waves, masks, matches, strict=True)]
            masks = masks * torch.stack(gains)[:, :, None, None, :]
        return self._rule(masks)

    def _fade(self, mask: Float[Tensor, "target row freq frame"]) -> Float[Tensor, "target row freq frame"]:
        """Fade the mask before into this one, over this one's first frames."""
        if self._tail is None:
            return mask
        frames = min(self._tail.shape[-1], mask.shape[-1])
        share = torch.linspace(0.0, 1.0, self._tail.shape[-1], dtype=mask.dtype, device=mask.device)[:frames]
        mixed = torch.lerp(self._tail[..., :frames], mask[..., :frames], share)
        return torch.cat((mixed, mask[..., frames:]), dim=-1)
