"""Separation of sound of any length, rate and channel count, in memory that does not grow with its duration."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from querysep.dsp.downmix import StreamingDownmix
from querysep.dsp.level import BOUND, Silence, SoundSections
from querysep.dsp.streaming_resampler import StreamingResampler
from querysep.dsp.streaming_stft import StreamingIstft, StreamingStft
from querysep.errors import AudioError
from querysep.separation.mask_rule import MaskRule
from querysep.separation.mask_stream import Gate, MaskStream
from querysep.separation.native_mask import NativeMask
from querysep.separation.network import SeparatorNetwork
from querysep.types import FloatArray

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
_PAUSE_S = 2.0  # silence that is longer divides a recording
_PUSH_SAMPLES = 2**19  # of all channels; longer blocks are cut, so memory is bounded by ours and not by the caller's
_TAKE_BINS = 2**23  # complex bins in one step of the masking


class LongFileSeparator:
    """Blocks of a mixture in, blocks of the targets out, later but of the same length in all.

    The mask is estimated on a downmix at the model's rate and applied to every channel at the file's own rate.

    Args:
        network: the separator, in evaluation mode; the device of its parameters is used.
        conditions: shape (query, condition_dim).
        sample_rate: the mixture's, in Hz.
        channels: the mixture's.
        rule: how the masks of the conditions become those of the targets; by default each gives a target.
        per_channel: estimate a mask for each channel instead of one for all.
        gate: as `MaskStream`.
        lowest_hz: what lies below (DC, rumble that nobody hears) is in no target.
        start: where the blocks begin in the recording, samples at its rate.

    Raises:
        AudioError: a rate outside 1..768 kHz.
    """

    def __init__(
        self,
        network: SeparatorNetwork,
        conditions: Float[Tensor, "query condition_dim"],
        sample_rate: int,
        channels: int,
        *,
        rule: MaskRule | None = None,
        per_channel: bool = False,
        gate: Gate | None = None,
        lowest_hz: float = 0.0,
        start: int = 0,
    ) -> None:
        check_rate(sample_rate)
        self._channels, self._per_channel = channels, per_channel
        self._network_device = conditions.device
        # complex tensors are incomplete on Apple's GPUs
        self._device = torch.device("cpu") if conditions.device.type == "mps" else conditions.device
        rule = rule or MaskRule.each(conditions.shape[0])
        self._targets = len(rule.targets)
        config = network.config
        self._resampler = StreamingResampler(sample_rate, config.sample_rate, channels if per_channel else 1)
        self._downmix = StreamingDownmix(sample_rate, channels)
        self._masks = MaskStream(
            network, conditions, rule, _later(gate, round(start * config.sample_rate / sample_rate))
        )
        self._native = NativeMask(config, sample_rate, self._device, lowest_hz)
        self._stft = StreamingStft(channels, self._native.n_fft, self._native.hop, self._device)
        self._istft = StreamingIstft(self._native.n_fft, self._native.hop, self._device)
        self._time = 0
        self._given = 0

    @torch.inference_mode()
    def push(self, samples: FloatArray) -> FloatArray:
        """Take a block of the mixture in.

        Args:
            samples: shape (channel, time), float32.

        Returns:
            What is ready of the targets, shape (target, channel, time); the time axis may be empty.
        """
        size = max(1, _PUSH_SAMPLES // self._channels)
        parts = [self._push(samples[:, start : start + size]) for start in range(0, samples.shape[1], size)]
        return self._join([piece for part in parts for piece in part])

    def _push(self, samples: FloatArray) -> list[Tensor]:
        self._time += samples.shape[1]
        self._stft.push(torch.from_numpy(np.ascontiguousarray(samples)).to(self._device))
        rows = np.clip(samples, -BOUND, BOUND) if self._per_channel else self._downmix.push(samples)[None]
        self._estimate(self._resampler.push(rows))
        return self._apply()

    @torch.inference_mode()
    def finish(self) -> FloatArray:
        """Give the rest of the targets, shape (target, channel, time)."""
        if self._time == 0:
            return np.zeros((self._targets, self._channels, 0), np.float32)
        if not self._per_channel:
            self._estimate(self._resampler.push(self._downmix.finish()[None]))
        self._estimate(self._resampler.finish())
        for mask in self._masks.finish():
            self._native.push(mask.to(self._device))
        self._stft.finish()
        done = self._apply()
        while self._stft.ready:
            self._native.hold()
            done += self._apply()
        return self._join([*done, self._istft.finish()])

    def _estimate(self, rows: FloatArray) -> None:
        wave = torch.from_numpy(np.ascontiguousarray(rows)).to(self._network_device)
        for mask in self._masks.push(wave):
            self._native.push(mask.to(self._device))

    def _apply(self) -> list[Tensor]:
        """Mask the frames whose mask is known and turn them into samples."""
        most = max(1, _TAKE_BINS // (self._targets * self._channels * (self._native.n_fft // 2 + 1)))
        done = []
        while frames := min(self._native.ready, self._stft.ready, most):
            masked = self._native.take(frames) * self._stft.take(frames)
            done.append(self._istft.push(rearrange(masked, "target channel f t -> (target channel) f t")))
        return done

    def _join(self, pieces: list[Tensor]) -> FloatArray:
        empty = np.zeros((self._targets, self._channels, 0), np.float32)
        arrays = [
            rearrange(piece.cpu().numpy(), "(target c) t -> target c t", target=self._targets) for piece in pieces
        ]
        # a sound shorter than a window was lengthened; its targets end where it ended
        joined = np.concatenate([empty, *arrays], axis=-1)[..., : self._time - self._given]
        self._given += joined.shape[-1]
        return joined


def separate_blocks(
    network: SeparatorNetwork,
    conditions: Float[Tensor, "query condition_dim"],
    blocks: Iterable[FloatArray],
    sample_rate: int,
    *,
    rule: MaskRule | None = None,
    per_channel: bool = False,
    gate: Gate | None = None,
    lowest_hz: float = 0.0,
) -> Iterator[FloatArray]:
    """Separate a mixture that arrives in blocks.

    Silence (below -90 dBFS) at either end, or for more than 2 s, is in no target, and the sound between is separated
    as if it were a recording of its own; so silence around a sound changes nothing.

    Args:
        network: the separator, in evaluation mode.
        conditions: shape (query, condition_dim), on the network's device.
        blocks: shape (channel, time) each, of any length, all with the same channels.
        sample_rate: in Hz.
        rule: as `LongFileSeparator`.
        per_channel: as `LongFileSeparator`.
        gate: as `MaskStream`.
        lowest_hz: as `LongFileSeparator`.

    Yields:
        Blocks of the targets, shape (target, channel, time); as many samples in all as came in.

    Raises:
        AudioError: the rate is out of range, or the number of channels changes.
    """
    rule = rule or MaskRule.each(conditions.shape[0])
    separator: LongFileSeparator | None = None
    start, channels = 0, 0
    for piece in _sections(blocks, sample_rate):
        if isinstance(piece, Silence):
            ready = [separator.finish()] if separator is not None else []
            silence = np.zeros((len(rule.targets), channels, 1), np.float32)
            ready += [
                silence.repeat(min(_PUSH_SAMPLES, piece.time - done), axis=-1)
                for done in range(0, piece.time, _PUSH_SAMPLES)
            ]
            separator = None
            start += piece.time
        else:
            channels = piece.shape[0]
            if piece.shape[1] == 0:  # the first tells the channels
                continue
            if separator is None:
                separator = LongFileSeparator(
                    network,
                    conditions,
                    sample_rate,
                    channels,
                    rule=rule,
                    per_channel=per_channel,
                    gate=gate,
                    lowest_hz=lowest_hz,
                    start=start,
                )
            ready = [separator.push(piece)]
            start += piece.shape[1]
        yield from (part for part in ready if part.shape[-1])
    if separator is not None:
        rest = separator.finish()
        if rest.shape[-1]:
            yield rest


def _sections(blocks: Iterable[FloatArray], sample_rate: int) -> Iterator[FloatArray | Silence]:
    """Cut at silence; an empty piece with the recording's channels comes first."""
    sections: SoundSections | None = None
    channels = 0
    for block in blocks:
        if sections is None:
            check_rate(sample_rate)
            channels = block.shape[0]
            sections = SoundSections(channels, round(_PAUSE_S * sample_rate))
            yield block[:, :0]
        if block.shape[0] != channels:
            raise AudioError(f"All blocks must have {channels} channels as the first; got one of {block.shape[0]}.")
        yield from sections.push(block)
    if sections is not None:
        yield from sections.finish()


def check_rate(sample_rate: int) -> None:
    """Refuse rates outside 1..768 kHz.

    Raises:
        AudioError: it is.
    """
    if not LOWEST_RATE <= sample_rate <= HIGHEST_RATE:
        raise AudioError(
            f"The sample rate must lie in {LOWEST_RATE}..{HIGHEST_RATE} Hz; got {sample_rate}. Resample it first."
        )


def _later(gate: Gate | None, samples: int) -> Gate | None:
    return None if gate is None else lambda start, *chunk: gate(start + samples, *chunk)
