"""The two MUSDB18 protocols on a small set in MUSDB18's layouts, with the bundled model."""

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from music import RATE, make_musdb18, needs_ffmpeg, song, write_wav
from numpy.typing import NDArray
from published import expected, given

from querysep.data.formats.musdb18 import STEMS, Musdb18, Track, TrackReader
from querysep.dsp.streaming_resampler import resample
from querysep.errors import ConfigError, DataError
from querysep.evaluation.metrics import bss_eval
from querysep.evaluation.metrics.signal import snr_db
from querysep.evaluation.protocols.musdb18 import (
    BASELINE,
    SEGMENTS,
    Musdb18Paper,
    Musdb18Protocol,
    Musdb18Sisec,
    loud_segments,
    mean_embedding,
    separate_chunk,
    separate_chunks,
    stem_conditions,
)
from querysep.evaluation.protocols.protocol import Row
from querysep.io.audio_reader import read_audio
from querysep.model import Model, load_model
from querysep.types import Audio

pytestmark = needs_ffmpeg

CHUNK = 64_000


@pytest.fixture(autouse=True)
def _short_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    """For speed; the SDR does not depend on their length, and test_bss_eval.py has the length."""
    monkeypatch.setattr(bss_eval, "FILTER", 32)


@pytest.fixture(scope="module", autouse=True)
def _wav_without_ffmpeg() -> Iterator[None]:
    """Read WAV files without three processes for each; tests/data/test_musdb18.py has how they are read."""
    init, read = TrackReader.__init__, TrackReader.read

    def quick_init(reader: TrackReader, track: Track) -> None:
        if track.in_wav:
            reader.track = track
        else:
            init(reader, track)

    def quick_read(reader: TrackReader, part: str) -> Audio:
        return read_audio(reader.track.file(part)) if reader.track.in_wav else read(reader, part)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrackReader, "__init__", quick_init)
        patch.setattr(TrackReader, "read", quick_read)
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("default", "cpu")


@pytest.fixture(scope="module")
def stems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_musdb18(tmp_path_factory.mktemp("musdb18"), "stems")


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MUSDB18-HQ; in a test song the drums are silent for the first 2.05 s, in the other always."""
    root = make_musdb18(tmp_path_factory.mktemp("musdb18-hq"), "wav")
    for name, silent_s in (("Ann - Song", 2.05), ("Bob - Song", 10)):
        folder = root / "test" / name
        parts = {part: soundfile.read(folder / f"{part}.wav")[0] for part in ("mixture", *STEMS)}
        silence = slice(round(silent_s * RATE))
        parts["mixture"][silence] -= parts["drums"][silence]
        parts["drums"][silence] = 0.0
        for part in ("mixture", "drums"):
            soundfile.write(folder / f"{part}.wav", parts[part], RATE, subtype="PCM_16")
    return root


@pytest.fixture(scope="module")
def sisec(wav: Path) -> Musdb18Sisec:
    protocol = Musdb18Sisec(wav, device="cpu")
    protocol.prepare()
    return protocol


@pytest.fixture(scope="module")
def conditions(sisec: Musdb18Sisec) -> torch.Tensor:
    """The queries of the WAV set, which take most of the time that these tests need."""
    assert sisec._conditions is not None
    return sisec._conditions


def _mono(path: Path) -> NDArray[np.float32]:
    """Return a recording at 32 kHz, shape (time,)."""
    wave = soundfile.read(path, dtype="float32")[0].mean(axis=1, dtype=np.float32)
    return np.asarray(resample(wave[None], RATE, 32_000)[0])


def _by_stem(rows: list[Row]) -> dict[str, Row]:
    assert [row.label for row in rows] == list(STEMS)
    return {row.label: row for row in rows}


def _other_than_sdr(row: Row) -> list[float]:
    return [row.values[name] for name in ("isr_v4_db", "sir_v4_db", "sar_v4_db")]


def test_paper_protocol_finds_every_stem_in_stem_files(stems: Path) -> None:
    protocol = Musdb18Paper(model="default", data=stems, device="cpu")
    assert list(protocol.tasks()) == ["Ann - Song", "Bob - Song"]
    rows = protocol.measure("Ann - Song")
    elsewhere: Musdb18Paper = pickle.loads(pickle.dumps(protocol))
    assert elsewhere._loaded is None
    assert elsewhere._conditions is not None
    rows += elsewhere.measure("Bob - Song")
    assert all(row.facts["frames"] == "2 of 2" for row in rows)
    summaries = protocol.summarise(rows)
    assert [summary.name for summary in summaries] == list(STEMS)
    for summary in summaries:
        assert summary.count == 2
        assert summary.values["sdr_v4_db"] > summary.values[BASELINE] + 4.0
        assert np.isfinite(list(summary.values.values())).all()


def test_sisec_protocol_finds_every_stem_in_stem_files(stems: Path, conditions: torch.Tensor) -> None:
    protocol = Musdb18Sisec(model="default", data=stems, device="cpu")
    protocol._conditions = conditions
    gains_db = []
    for row in protocol.measure("Bob - Song"):
        assert row.facts == {"track": "Bob - Song", "frames": "3 of 4"}  # the voice begins in the second
        gains_db.append(row.values["sdr_v4_db"] - row.values[BASELINE])
    # how much a made-up voice gains depends on the weights; stems in the wrong order gain nothing
    assert min(gains_db) > 0.0 and np.mean(gains_db) > 4.0


def test_paper_protocol_measures_whole_chunks_where_a_stem_sounds(
    wav: Path, model: Model, conditions: torch.Tensor
) -> None:
    protocol = Musdb18Paper(wav, device="cpu")
    protocol._conditions = conditions
    rows = _by_stem(protocol.measure("Ann - Song"))
    assert {stem: row.facts["frames"] for stem, row in rows.items()} == {
        "vocals": "2 of 2",
        "drums": "1 of 2",
        "bass": "2 of 2",
        "other": "2 of 2",
    }
    # 4.2 s are two chunks; the second is all that there is of the drums, so its figures are the row's
    mixture, drums = (_mono(wav / "test" / "Ann - Song" / f"{part}.wav")[:128_000] for part in ("mixture", "drums"))
    estimate = separate_chunk(model.separator, conditions, torch.from_numpy(mixture[CHUNK:]))[1].numpy()
    values = rows["drums"].values
    assert values["sdr_v4_db"] == pytest.approx(snr_db(drums[CHUNK:], estimate), abs=1e-4)
    assert values[BASELINE] == pytest.approx(snr_db(drums[CHUNK:], mixture[CHUNK:]), abs=1e-4)
    sounds = protocol.sounds(rows["drums"])
    assert list(sounds) == ["mixture", "target", "estimate"]
    np.testing.assert_allclose(sounds["estimate"].samples[0, CHUNK:], estimate, atol=1e-6)
    np.testing.assert_allclose(sounds["target"].samples[0], drums, atol=1e-6)


def test_sisec_protocol_measures_frames_in_which_all_stems_sound(sisec: Musdb18Sisec, wav: Path) -> None:
    rows = _by_stem(sisec.measure("Ann - Song"))
    # 4.2 s are four frames; two of them have no drums
    assert {row.facts["frames"] for row in rows.values()} == {"2 of 4"}
    parts = {part: soundfile.read(wav / "test" / "Ann - Song" / f"{part}.wav")[0] for part in ("mixture", "bass")}
    frames = [slice(second * RATE, (second + 1) * RATE) for second in (2, 3)]
    baseline = np.median([snr_db(*(parts[part][frame] for part in ("bass", "mixture"))) for frame in frames])
    assert rows["bass"].values[BASELINE] == pytest.approx(baseline, abs=1e-4)
    assert rows["bass"].values["sdr_v4_db"] > baseline + 4.0
    assert rows["drums"].values["sdr_v4_db"] > rows["drums"].values[BASELINE] + 4.0
    assert np.isfinite(_other_than_sdr(rows["drums"])).all()
    sounds = sisec.sounds(rows["bass"])
    assert {audio.samples.shape for audio in sounds.values()} == {(2, round(4.2 * RATE))}
    assert snr_db(sounds["target"].samples, sounds["estimate"].samples) == pytest.approx(
        rows["bass"].values["snr_db"], abs=1e-3
    )


def test_sisec_protocol_leaves_a_stem_out_that_never_sounds(sisec: Musdb18Sisec) -> None:
    rows = _by_stem(sisec.measure("Bob - Song"))
    assert np.isnan(list(rows["drums"].values.values())).all()
    assert rows["vocals"].facts["frames"] == "3 of 4"  # the voice begins in the second
    assert all(np.isfinite([*row.values.values()]).all() for stem, row in rows.items() if stem != "drums")
    counts = {summary.name: summary.count for summary in sisec.summarise(list(rows.values()))}
    assert counts == {"vocals": 1, "drums": 0, "bass": 1, "other": 1}


def test_figures_of_a_protocol_are_medians_over_songs(sisec: Musdb18Protocol) -> None:
    rows = [
        Row(task=str(number), group="test", label="bass", values={"sdr_v4_db": value, "snr_db": 1.0})
        for number, value in enumerate((1.0, 2.0, 30.0, float("nan")))
    ]
    (summary,) = sisec.summarise(rows)
    assert (summary.name, summary.count, summary.values["sdr_v4_db"]) == ("bass", 3, 2.0)
    assert summary.intervals["sdr_v4_db"] == (1.0, 30.0)


def test_sisec_protocol_takes_stereo_at_44100_only(tmp_path: Path, conditions: torch.Tensor) -> None:
    for subset in ("train", "test"):
        write_wav(tmp_path / subset / "Ann - Song", song(0, 0.3, 48_000), 48_000)
    protocol = Musdb18Sisec(tmp_path, device="cpu")
    protocol._conditions = conditions
    with pytest.raises(DataError, match=r"stereo at 44\.1 kHz; .* has 2 channels at 48000 Hz"):
        protocol.measure("Ann - Song")


def test_training_side_without_a_stem_is_told(tmp_path: Path, model: Model) -> None:
    write_wav(tmp_path / "Ann - Song", song(0, 1.9))
    for subset in ("train", "test"):
        (tmp_path / subset).mkdir()
    (tmp_path / "Ann - Song").rename(tmp_path / "train" / "Ann - Song")
    write_wav(tmp_path / "test" / "Ann - Song", song(0, 0.1))
    with pytest.raises(DataError, match="No training track has 2 s of vocals, drums, bass, other"):
        stem_conditions(model.detector, model.device, Musdb18(tmp_path).train)


def test_paper_protocol_needs_a_model_at_its_rate(wav: Path, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    config = model.separator.config.model_copy(update={"sample_rate": 16_000})
    monkeypatch.setattr(model.separator, "config", config)
    monkeypatch.setattr("querysep.evaluation.protocols.musdb18.load_model", lambda *_: model)
    with pytest.raises(ConfigError, match="defined at 32 kHz; the model 'default' works at 16000 Hz"):
        Musdb18Paper(wav).prepare()


def _wave(seconds: float = 4.0) -> NDArray[np.float32]:
    return np.asarray(resample(song(5, seconds)["mixture"].mean(axis=1, dtype=np.float32)[None], RATE, 32_000)[0])


def test_stems_of_a_chunk_add_up_to_the_mixture(model: Model) -> None:
    """What the joint step does: masks alone leave and double parts of the mixture."""
    conditions = torch.randn(4, model.separator.config.condition_dim, generator=torch.Generator().manual_seed(0))
    mixture = _wave()[:CHUNK]
    estimates = separate_chunk(model.separator, conditions, torch.from_numpy(mixture)).numpy()
    assert snr_db(mixture, estimates.sum(axis=0)) > 40.0
    alone = model.separator(torch.from_numpy(mixture)[None, None].repeat(4, 1, 1), conditions)
    assert snr_db(mixture, alone.detach().sum(dim=0)[0].numpy()) < 20.0


def test_chunks_are_separated_on_their_own(model: Model) -> None:
    conditions = torch.randn(2, model.separator.config.condition_dim, generator=torch.Generator().manual_seed(0))
    mixture = _wave()
    both = separate_chunks(model.separator, conditions, mixture, CHUNK)
    mixture[:CHUNK] *= -0.1
    other = separate_chunks(model.separator, conditions, mixture, CHUNK)
    np.testing.assert_array_equal(other[:, CHUNK:], both[:, CHUNK:])
    assert not np.allclose(other[:, :CHUNK], both[:, :CHUNK])


def test_query_is_the_mean_over_songs_of_the_means_over_segments(
    wav: Path, model: Model, conditions: torch.Tensor
) -> None:
    means = []
    for name in ("Ann - Song", "Bob - Song"):
        segments = _mono(wav / "train" / name / "bass.wav")[: 2 * CHUNK].reshape(2, CHUNK)
        with torch.inference_mode():
            means.append(model.detector(torch.from_numpy(segments)).latent.mean(dim=0))
    np.testing.assert_allclose(conditions[2], torch.stack(means).mean(dim=0), atol=1e-5)


def test_segments_of_a_query_are_the_loudest_and_not_silent() -> None:
    size = 100
    levels = np.concatenate([np.linspace(1.0, 0.5, 20), [0.02, 2.0], np.linspace(0.5, 1.0, 20)]).astype(np.float32)
    wave = np.append(np.repeat(levels, size), np.full(size - 1, 9.0, np.float32))
    loudest = np.concatenate([levels[:7], [2.0], levels[-7:]])
    np.testing.assert_array_equal(loud_segments(wave, size), np.repeat(loudest[:, None], size, axis=1))
    few = np.repeat(np.array([0.031, 1.0, 0.032], np.float32), size)  # sums of squares of 0.096, 100 and 0.102
    assert loud_segments(few, size)[:, 0].tolist() == [1.0, few[-1]]
    assert loud_segments(wave[: size - 1], size).shape == (0, size)
    assert len(loudest) == SEGMENTS


def test_segments_of_the_published_query() -> None:
    """The fixture's first file: its second segment is too quiet, its tail is dropped."""
    first, second = given("sed_2s")
    wave = np.concatenate([first, 0.001 * second, second, first[:20_000]]).astype(np.float32)
    kept = np.square(loud_segments(wave, CHUNK)).sum(axis=1)
    np.testing.assert_allclose(kept, expected("query_energy")[[0, 2]], rtol=1e-5)


def test_silent_stem_gives_no_query(model: Model) -> None:
    assert mean_embedding(model.detector, model.device, np.zeros(3 * CHUNK, np.float32)) is None
