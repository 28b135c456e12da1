"""BSS Eval version 4, held against museval, and against known numbers."""

import numpy as np
import pytest
from music import needs_ffmpeg
from numpy.typing import NDArray
from published import expected, given

from querysep.evaluation.metrics import bss_eval as ours
from querysep.evaluation.metrics.bss_eval import bss_eval_v4, sdr_v4_db
from querysep.evaluation.metrics.signal import snr_db

pytestmark = needs_ffmpeg  # without it museval cannot be imported

FRAME, FILTER = 2_000, 64


@pytest.fixture(autouse=True)
def _short_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter than 512 samples, for speed, and shorter blocks, so that there are several."""
    monkeypatch.setattr(ours, "FILTER", FILTER)
    monkeypatch.setattr(ours, "_BLOCK", 2_048)


def _case(channels: int, time: int = 3 * FRAME + 700) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two references and estimates of them: filtered, with some of the other one and some noise."""
    rng = np.random.default_rng(3)
    references = rng.standard_normal((2, channels, time)).astype(np.float32)
    references[1] *= np.sin(np.arange(time) / 900) ** 2
    filtered = references + 0.3 * np.roll(references, 40, axis=-1) + 0.1 * references[:, ::-1]
    estimates = filtered + 0.2 * references[::-1] + 0.05 * rng.standard_normal(references.shape)
    return references, estimates.astype(np.float32)


def _museval(
    references: NDArray[np.float32], estimates: NDArray[np.float32], filters_len: int = FILTER
) -> list[NDArray[np.float64]]:
    from museval.metrics import bss_eval

    waves = (wave.transpose(0, 2, 1).astype(np.float64) for wave in (references, estimates))
    return list(bss_eval(*waves, window=FRAME, hop=FRAME, filters_len=filters_len)[:4])


@pytest.mark.parametrize("channels", [1, 2])
def test_all_four_figures_are_musevals(channels: int) -> None:
    references, estimates = _case(channels)
    got = bss_eval_v4(references, estimates, FRAME)
    wanted = _museval(references, estimates)
    for figures, theirs in zip((got.sdr, got.isr, got.sir, got.sar), wanted, strict=True):
        assert figures.shape == (2, 3)
        np.testing.assert_allclose(figures, theirs, atol=1e-6)


def test_filters_have_musevals_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "FILTER", 512)
    references, estimates = _case(1, FRAME)
    wanted = _museval(references, estimates, 512)
    np.testing.assert_allclose(bss_eval_v4(references, estimates, FRAME).sar, wanted[3], atol=1e-6)


def test_a_frame_with_a_silent_stem_has_no_figures_as_in_museval() -> None:
    references, estimates = _case(1)
    references[1, :, FRAME : 2 * FRAME] = 0.0
    got = bss_eval_v4(references, estimates, FRAME)
    assert np.isnan(got.sdr[:, 1]).all() and np.isnan(got.sir[:, 1]).all()
    np.testing.assert_allclose(got.sir, _museval(references, estimates)[2], atol=1e-6)


def test_equal_channels_can_be_measured() -> None:
    """A stem in the middle of the stereo image: museval fails on some such sounds with newer numpy."""
    time = np.arange(FRAME)
    click = (time % 2 == 0).astype(np.float32)
    references = np.stack([np.stack([click, click]), np.stack([1 - click, 1 - click])])
    estimates = (references + 0.1 * np.sin(time)).astype(np.float32)
    got = bss_eval_v4(references, estimates, FRAME)
    wanted = 10 * np.log10(np.square(references).sum(axis=(1, 2)) / np.square(estimates - references).sum(axis=(1, 2)))
    np.testing.assert_allclose(got.sdr[:, 0], wanted, atol=1e-5)
    assert np.isfinite(got.sar).all()


def test_sdr_of_the_published_pairs() -> None:
    """The fixture: one window for each row; a silent estimate is left out."""
    references, estimates = given("sdr_ref"), given("sdr_est")
    values = np.array([sdr_v4_db(a[None], b[None]) for a, b in zip(references, estimates, strict=True)])
    kept = np.flatnonzero(np.isfinite(values))
    assert kept.tolist() == expected("sdr_mixture_kept_rows").tolist()
    np.testing.assert_allclose(values[kept], expected("sdr_mixture_value"), atol=1e-7)


def test_sdr_is_the_snr_of_the_frame() -> None:
    references, estimates = _case(2)
    assert sdr_v4_db(references[0], estimates[0]) == pytest.approx(snr_db(references[0], estimates[0]), abs=1e-6)
