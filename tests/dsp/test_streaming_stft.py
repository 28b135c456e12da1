"""The streaming transform is the whole-file one, however the sound is cut."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from querysep.dsp.stft import istft, stft
from querysep.dsp.streaming_stft import StreamingIstft, StreamingStft, fast_n_fft

CPU = torch.device("cpu")


def cut(samples: Tensor, sizes: list[int]) -> list[Tensor]:
    pieces, start, index = [], 0, 0
    while start < samples.shape[-1]:
        size = sizes[index % len(sizes)]
        pieces.append(samples[:, start : start + size])
        start, index = start + size, index + 1
    return pieces


@settings(max_examples=40)
@given(
    channels=st.integers(1, 3),
    time=st.integers(65, 2_000),
    hop=st.integers(7, 50),
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=4),
)
def test_equals_the_transform_of_the_whole(channels: int, time: int, hop: int, sizes: list[int]) -> None:
    samples = torch.rand(channels, time, generator=torch.Generator().manual_seed(time)) - 0.5
    forward, backward = StreamingStft(channels, 128, hop, CPU), StreamingIstft(128, hop, CPU)
    frames, out = [], []
    for piece in cut(samples, sizes):
        forward.push(piece)
        frames.append(forward.take(forward.ready))
        out.append(backward.push(frames[-1]))
    forward.finish()
    frames.append(forward.take(forward.ready))
    out += [backward.push(frames[-1]), backward.finish()]
    whole = stft(samples, 128, hop)
    torch.testing.assert_close(torch.cat(frames, dim=-1), whole, atol=1e-5, rtol=0)
    back = torch.cat(out, dim=-1)[:, :time]
    torch.testing.assert_close(back, istft(whole, 128, hop, time), atol=1e-5, rtol=0)
    torch.testing.assert_close(back, samples, atol=1e-5, rtol=0)


def test_sound_shorter_than_half_a_window_is_lengthened() -> None:
    forward, backward = StreamingStft(1, 128, 32, CPU), StreamingIstft(128, 32, CPU)
    samples = torch.linspace(-1, 1, 5)[None]
    forward.push(samples)
    assert forward.ready == 0
    forward.finish()
    out = torch.cat([backward.push(forward.take(forward.ready)), backward.finish()], dim=-1)
    torch.testing.assert_close(out[:, :5], samples, atol=1e-5, rtol=0)


def test_fast_lengths_are_even_near_and_smooth() -> None:
    assert fast_n_fft(2048) == 2048
    for wanted in (192, 512, 705.6, 1411.2, 2822.4, 12_288, 30_001):
        length = fast_n_fft(wanted)
        assert length % 2 == 0
        assert abs(length - wanted) < 0.025 * wanted
        for prime in (2, 3, 5, 7):
            while length % prime == 0:
                length //= prime
        assert length == 1
