from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_up import tone

from openset.clips import SAMPLE_RATE, cut_evenly, decode, trim, two_excerpts, write_clip
from querysep.errors import DataError


def test_decoding_mixes_down_and_resamples(tmp_path: Path) -> None:
    left = tone(1.0, 44_100)
    soundfile.write(tmp_path / "a.wav", np.stack([left, np.zeros_like(left)], axis=1), 44_100)
    samples = decode(tmp_path / "a.wav")
    assert samples.size == SAMPLE_RATE
    assert np.abs(samples - 0.5 * tone(1.0, SAMPLE_RATE))[2_000:-2_000].max() < 2e-3


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(DataError, match=r"a\.wav"):
        decode(tmp_path / "a.wav")


def test_silence_is_trimmed_from_the_edges_alone() -> None:
    gap = np.zeros(SAMPLE_RATE)
    samples = np.concatenate([tone(0.5, SAMPLE_RATE, edge=0.3), gap, tone(0.5, SAMPLE_RATE, edge=0.7)])
    kept = trim(samples.astype(np.float32))
    assert kept.size / SAMPLE_RATE == pytest.approx(0.5 + 0.3 + 1 + 0.7 + 0.5, abs=0.06)
    assert trim(np.zeros(1_000, dtype=np.float32)).size == 0
    assert trim(np.zeros(0, dtype=np.float32)).size == 0


@pytest.mark.parametrize("seconds", [0.5, 30.0, 30.1, 95.0])
def test_long_recordings_are_cut_into_short_pieces(seconds: float) -> None:
    samples = np.arange(round(seconds * 100), dtype=np.float32)
    parts = cut_evenly(samples, 30.0, sample_rate=100)
    assert max(part.size for part in parts) <= 3_000
    assert np.array_equal(np.concatenate(parts), samples)


def test_excerpts_of_music_do_not_overlap() -> None:
    for size in (500, 1_000, 1_999, 2_000, 2_001, 9_999):
        samples = np.arange(size, dtype=np.float32)
        parts = two_excerpts(samples, 10.0, sample_rate=100)
        joined = np.concatenate(parts)
        assert max(part.size for part in parts) <= 1_000
        assert len(np.unique(joined)) == joined.size
        assert len(parts) == (1 if size < 2_000 else 2)


def test_only_what_would_clip_is_scaled(tmp_path: Path) -> None:
    for gain, peak in ((0.5, 0.5), (3.0, 1.0)):
        write_clip(tone(0.2, SAMPLE_RATE, gain=gain).astype(np.float32), tmp_path / "a.flac")
        written, rate = soundfile.read(tmp_path / "a.flac")
        assert rate == SAMPLE_RATE
        assert np.abs(written - tone(0.2, SAMPLE_RATE, gain=peak)).max() < 1e-3
    assert soundfile.info(tmp_path / "a.flac").subtype == "PCM_16"
