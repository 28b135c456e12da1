"""The separator agrees with the published one, number by number."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from published import assert_agrees, checkpoint, given

from querysep.dsp.stft import istft, stft
from querysep.dsp.wiener import wiener
from querysep.evaluation.protocols.musdb18 import separate_chunk
from querysep.io.official import sort_tensors
from querysep.model import load_preset
from querysep.separation.build import build_separator
from querysep.separation.network import SeparatorNetwork


@pytest.fixture(scope="module")
def separator() -> Iterator[SeparatorNetwork]:
    network = build_separator(load_preset("paper").separator).eval()
    network.load_state_dict(sort_tensors(checkpoint("separator")).separator, strict=True)
    with torch.inference_mode():
        yield network


def _wave(name: str) -> torch.Tensor:
    return torch.from_numpy(given(name))


def test_waveforms_agree_in_a_batch_with_conditions_swapped(separator: SeparatorNetwork) -> None:
    conditions = torch.stack((_wave("cond_b"), _wave("cond_a")))
    target = separator(_wave("sep_mix_2s")[:, None], conditions)
    assert_agrees(target[:, 0, ::4], "sep_batch_wav_every4")


def test_length_that_needs_padding_agrees(separator: SeparatorNetwork) -> None:
    mixture = _wave("sep_mix_3s")[None]
    assert_agrees(separator(mixture[:, None], _wave("cond_b")[None])[0, 0, ::4], "sep_3s_wav_every4")


def test_waveform_magnitude_and_wiener_step_agree(separator: SeparatorNetwork) -> None:
    mixture = _wave("sep_mix_2s")[:1]
    spectrogram = stft(mixture, 2048, 320)
    magnitudes = []
    for name in ("a", "b"):
        mask = separator.mask(mixture, _wave(f"cond_{name}")[None])
        magnitudes.append((mask * spectrogram.abs())[0].T)
        assert_agrees(magnitudes[-1][::3, ::7], f"sep_{name}_sp_dec")
        wave = istft(spectrogram * mask, 2048, 320, mixture.shape[1])
        assert_agrees(wave[0], f"sep_{name}_wav")
    assert_agrees(magnitudes[0][:, -3:], "sep_a_sp_top")
    joint = wiener(torch.stack(magnitudes, dim=-1)[:, :, None], spectrogram[0].T[:, :, None])
    waves = istft(joint[:, :, 0].permute(2, 1, 0), 2048, 320, mixture.shape[1])  # to (source, freq, frame)
    assert_agrees(waves[:, ::2], "wiener_2s_wav_every2")


def test_a_chunk_of_the_papers_musdb18_protocol_agrees(separator: SeparatorNetwork) -> None:
    conditions = torch.stack((_wave("cond_a"), _wave("cond_b")))
    assert_agrees(separate_chunk(separator, conditions, _wave("sep_mix_2s")[0])[:, ::2], "wiener_2s_wav_every2")


def test_small_wiener_step_with_silent_frames_agrees() -> None:
    mixture = torch.view_as_complex(_wave("wiener_mix").contiguous())
    joint = torch.view_as_real(wiener(_wave("wiener_spec"), mixture))
    assert_agrees(np.moveaxis(joint.numpy(), -1, -2), "wiener_small")
