"""Detectors are trained on spectrograms that have stripes masked, and only those."""

import numpy as np
import pytest
import torch
from torch import Tensor

from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.detection.network import Detection
from querysep.dsp.mixing import Play, Playback
from querysep.training.config import DetectorTraining
from querysep.training.detector import DetectorModule
from querysep.training.lessons import Lesson
from querysep.training.masking import mask_stripes
from querysep.training.weak_clips import WeakBatch

CONFIG = HtsatConfig(n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, classes=3)
BATCH, TIME = 40, 32_000


def _assert_striped(masked: Tensor, plain: Tensor) -> None:
    """One stripe of bands and one of frames, of other places and widths in each item, hold the item's mean."""
    widths, firsts = [], []
    for item, before in zip(masked, plain, strict=True):
        changed = item != before
        bands, frames = changed.all(dim=1), changed.all(dim=0)
        assert torch.equal(changed, bands[:, None] | frames[None])
        torch.testing.assert_close(item[changed], before.mean().expand(int(changed.sum())))
        stripes = [torch.nonzero(one).flatten().tolist() for one in (bands, frames)]
        assert all(stripe == list(range(stripe[0], stripe[-1] + 1)) for stripe in stripes if stripe)
        widths.append([len(stripe) for stripe in stripes])
        firsts.append([stripe[0] if stripe else 0 for stripe in stripes])
    assert (np.max(widths, axis=0) <= (12, 40)).all() and (np.min(widths, axis=0) < (3, 10)).all()
    assert (np.mean(widths, axis=0) > (3, 5)).all() and (np.std(firsts, axis=0) > 1).all()


def test_one_stripe_of_bands_and_one_of_frames_are_masked() -> None:
    torch.manual_seed(0)
    spectrograms = torch.randn(200, 64, 200)
    before = spectrograms.clone()
    masked = mask_stripes(spectrograms)
    _assert_striped(masked, before)
    assert torch.equal(spectrograms, before)
    widths = [
        int((item != plain).all(dim=dim).sum()) for dim in (1, 0) for item, plain in zip(masked, before, strict=True)
    ]
    assert np.mean(widths[:200]) == pytest.approx(6, abs=0.8) and np.mean(widths[200:]) == pytest.approx(20, abs=3)


@pytest.mark.parametrize("taught", [False, True], ids=["weak labels", "a teacher's lesson"])
def test_what_a_detector_is_trained_on_is_masked(taught: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = Htsat(CONFIG)
    labels = torch.nn.functional.one_hot(torch.arange(BATCH) % 3, 3).float()
    sounds = torch.randint(-5_000, 5_000, (BATCH, TIME), dtype=torch.int16)
    weak = WeakBatch(
        sounds, Playback.of([Play(TIME)] * BATCH), torch.arange(BATCH) * 2, torch.zeros(BATCH, 2), labels, TIME, 32_000
    )
    plain = network.log_mel(weak.waves()).detach()
    seen: list[Tensor] = []
    classify = network.classify

    def noting(spectrogram: Tensor) -> Detection:
        seen.append(spectrogram)
        return classify(spectrogram)

    monkeypatch.setattr(network, "classify", noting)
    module = DetectorModule(network, DetectorTraining())
    monkeypatch.setattr(module, "log", lambda *_: None)
    monkeypatch.setattr(module, "_teacher_loss", lambda *_: 0.0)
    module.batch_loss(Lesson(plain, labels, torch.zeros(BATCH, 2), torch.zeros(BATCH, 4)) if taught else weak)
    (spectrogram,) = seen
    _assert_striped(spectrogram, plain)
