"""Mixing at equal energy, as published, but without touching what the caller owns."""

import torch
from published import assert_agrees, given

from querysep.dsp.mixing import mix_equal_energy


def test_mixtures_agree_with_the_published_ones() -> None:
    waveforms = torch.from_numpy(given("mixdata_waveforms"))
    before = waveforms.clone()
    mixed = mix_equal_energy(waveforms[0::2], waveforms[1::2])
    sources = torch.stack((mixed.first, mixed.second), dim=1).flatten(0, 1)
    assert_agrees(mixed.mixture.repeat_interleave(2, dim=0), "mixdata_mixture_mix")
    assert_agrees(sources, "mixdata_mixture_src")
    assert torch.equal(waveforms, before)


def test_silence_stays_finite() -> None:
    mixed = mix_equal_energy(torch.ones(1, 100), torch.zeros(1, 100))
    assert torch.isfinite(mixed.mixture).all()
    assert torch.equal(mixed.mixture, mixed.first)
