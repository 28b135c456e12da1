"""The detector agrees with the published one, number by number."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from published import assert_agrees, checkpoint, expected, given

from querysep.anchors.choice import published_choice
from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.evaluation.protocols.musdb18 import mean_embedding
from querysep.io.official import sort_tensors
from querysep.model import load_preset


@pytest.fixture(scope="module")
def detector() -> Iterator[Htsat]:
    shape = load_preset("paper").detector
    assert isinstance(shape, HtsatConfig)
    network = Htsat(shape).eval()
    network.load_state_dict(sort_tensors(checkpoint("sed")).detector, strict=True)
    with torch.inference_mode():
        yield network


@pytest.mark.parametrize(("name", "recording"), [("sed10", "sed_10s"), ("sed2", "sed_2s"), ("sed3p7", "sed_3p7s")])
def test_outputs_agree(detector: Htsat, name: str, recording: str) -> None:
    wave = torch.from_numpy(given(recording)).reshape(-1, given(recording).shape[-1])
    detection = detector(wave)
    assert_agrees(detection.clipwise, f"{name}_clipwise")
    assert_agrees(detection.latent, f"{name}_latent")
    if name != "sed3p7":
        assert_agrees(detection.framewise.transpose(1, 2), f"{name}_framewise_every32")


def test_log_mel_agrees(detector: Htsat) -> None:
    spectrogram = detector.log_mel(torch.from_numpy(given("sed_2s")))
    assert_agrees(spectrogram.transpose(1, 2)[:, None], "dbg_sed2_logmel")


def test_anchors_and_their_latents_agree(detector: Htsat) -> None:
    wave = torch.from_numpy(given("sed_10s"))
    framewise = detector(wave[None]).framewise[0].repeat_interleave(32, dim=-1)
    segments = []
    for item, class_id in enumerate(given("anchor_class_ids")):
        stretch = published_choice(framewise[int(class_id)].double().numpy(), wave.shape[0])
        assert [stretch.first, stretch.end] == list(expected("anchor_index_bgn_end")[item, 1:])
        segments.append(wave[stretch.first : stretch.end])
    assert_agrees(detector(torch.stack(segments)).latent, "anchor_latents")


def test_mean_embeddings_of_the_published_query_files_agree(detector: Htsat) -> None:
    """Segments of 2 s, the quiet one and the tail dropped, their mean."""
    first, second = given("sed_2s")
    file = np.concatenate([first, 0.001 * second, second, first[:20_000]]).astype(np.float32)
    vectors = [mean_embedding(detector, torch.device("cpu"), wave) for wave in (file, file[:64_000])]
    for number, vector in enumerate(vectors, start=1):
        assert_agrees(vector, f"query_mean_file{number}")
