"""From examples to a condition: which seconds count, and how they are averaged."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from querysep.detection.config import HtsatConfig
from querysep.detection.htsat import Htsat
from querysep.detection.windows import embed, profile
from querysep.errors import QueryError
from querysep.io.label_bank import BankRow, LabelBank
from querysep.queries import examples as examples_module
from querysep.queries.condition import Condition
from querysep.queries.examples import Ear, ReadSpan, example_files
from querysep.queries.query import Query
from querysep.queries.resolve import UNLIKE
from querysep.queries.resolve import resolve as resolve_all
from querysep.queries.segments import cut_segments
from querysep.types import Audio, FloatArray

RATE = 32_000
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def detector() -> Htsat:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = HtsatConfig(
            n_mels=16, image_size=64, embed_dim=8, depths=(1, 1), heads=(1, 2), window_size=4, classes=4
        )
        return Htsat(config).eval()


def noise(seconds: float, rate: int = RATE, gain: float = 0.1, seed: int = 0) -> FloatArray:
    return (np.random.default_rng(seed).standard_normal((1, round(seconds * rate))) * gain).astype(np.float32)


def write(path: Path, samples: FloatArray, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples.T, rate, subtype="FLOAT")
    return path


def resolve(query: Query, detector: Htsat, read_span: ReadSpan | None = None) -> Condition:
    (condition,) = resolve_all([query], Ear(detector, CPU, read_span))
    return condition


def resolved(detector: Htsat, *examples: Path | Audio) -> Condition:
    return resolve(Query.audio(*examples), detector)


def test_a_two_second_file_gives_exactly_its_embedding(detector: Htsat, tmp_path: Path) -> None:
    samples = noise(2)
    samples[0, 20_000:30_000] = 0  # silence inside of a short example is part of it
    condition = resolved(detector, write(tmp_path / "a.wav", samples))
    wave = torch.from_numpy(samples)
    assert torch.equal(condition.vectors[0], embed(detector, wave)[0])
    assert torch.equal(condition.profiles[0], profile(detector, wave)[0])
    assert (condition.examples_used, condition.seconds_used, condition.warnings) == (1, 2.0, ())


def test_segments_are_averaged_in_a_file_and_files_unweighted(detector: Htsat, tmp_path: Path) -> None:
    long, short = noise(6, seed=1), noise(2, seed=2)
    condition = resolved(detector, write(tmp_path / "a.wav", long), write(tmp_path / "b.wav", short))
    of_long = embed(detector, torch.from_numpy(long.reshape(3, 64_000))).mean(dim=0)
    of_short = embed(detector, torch.from_numpy(short))[0]
    torch.testing.assert_close(condition.vectors[0], (of_long + of_short) / 2, atol=1e-5, rtol=0)
    assert condition.seconds_used == 8.0


def test_a_file_under_two_seconds_works_and_stereo_is_averaged(detector: Htsat, tmp_path: Path) -> None:
    samples = noise(0.3)
    condition = resolved(detector, write(tmp_path / "a.wav", np.concatenate([samples * 2, samples * 0])))
    torch.testing.assert_close(condition.vectors[0], embed(detector, torch.from_numpy(samples))[0], atol=1e-5, rtol=0)


def test_other_rates_are_resampled(detector: Htsat, tmp_path: Path) -> None:
    time_s = np.arange(2 * 48_000) / 48_000
    tone = (0.3 * np.sin(2 * np.pi * 500 * time_s)).astype(np.float32)[None]
    same = (0.3 * np.sin(2 * np.pi * 500 * np.arange(64_000) / RATE)).astype(np.float32)[None]
    condition = resolved(detector, write(tmp_path / "a.wav", tone, 48_000))
    torch.testing.assert_close(condition.vectors[0], embed(detector, torch.from_numpy(same))[0], atol=0.02, rtol=0)


def test_silent_stretches_do_not_count() -> None:
    loud, silence = noise(2, gain=0.5), np.zeros((1, 64_000), np.float32)
    quiet = noise(2, gain=0.5 * 10 ** (-45 / 20))  # -51 dBFS: not silent by itself
    whole = np.concatenate([silence, loud, silence, quiet, loud, silence], axis=1)
    segments = cut_segments(Audio(whole, RATE), RATE)
    assert segments.used_s == 4.0
    np.testing.assert_array_equal(segments.waves, np.concatenate([loud, loud]))


def test_the_tail_is_covered_and_silence_around_a_short_sound_is_cut_off() -> None:
    samples = noise(5)
    segments = cut_segments(Audio(samples, RATE), RATE)
    assert segments.waves.shape == (3, 64_000)
    np.testing.assert_array_equal(segments.waves[2], samples[0, -64_000:])
    assert segments.used_s == 5.0
    burst = np.zeros((1, 5 * RATE), np.float32)
    burst[0, 4 * RATE : 4 * RATE + 8_000] = noise(0.25)[0]
    for example in (burst, burst[:, 3 * RATE :]):
        np.testing.assert_array_equal(cut_segments(Audio(example, RATE), RATE).waves[0], burst[0, 128_000:136_000])


def test_an_example_over_ten_minutes_is_cut_with_a_warning(
    detector: Htsat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examples_module, "MAX_EXAMPLE_S", 6.0)
    samples = noise(9)
    condition = resolved(detector, write(tmp_path / "a.wav", samples))
    alone = resolved(detector, write(tmp_path / "b.wav", samples[:, : 6 * RATE]))
    torch.testing.assert_close(condition.vectors[0], alone.vectors[0])
    assert "only its beginning is used" in condition.warnings[0]
    assert not alone.warnings


def test_200_files_below_a_folder(detector: Htsat, tmp_path: Path) -> None:
    for number in range(200):
        write(tmp_path / f"folder/{number % 3}/{number}.wav", noise(0.1, 8_000, seed=number), 8_000)
    (tmp_path / "folder" / "notes.txt").write_text("no sound")
    (tmp_path / "folder" / "._1.wav").write_text("a Mac's shadow file")
    assert len(example_files(tmp_path / "folder")) == 200
    condition = resolved(detector, tmp_path / "folder")
    assert condition.examples_used == 200
    assert condition.seconds_used == pytest.approx(20.0)


def test_bad_examples(detector: Htsat, tmp_path: Path) -> None:
    silent = write(tmp_path / "silent.wav", np.zeros((1, 5 * RATE), np.float32))
    faint = write(tmp_path / "faint.wav", noise(5, gain=1e-6))
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.wav").write_text("words")
    bad: list[tuple[Path | Audio, str]] = [
        (silent, "silent.wav' is silent"),
        (faint, "faint.wav' is silent"),
        (tmp_path / "empty", "holds no audio files"),
        (tmp_path / "none.wav", "no file or folder"),
        (tmp_path / "words.wav", "cannot be used.*words.wav"),
        (Audio(np.zeros((1, 9), np.float32), RATE), "in memory is silent"),
    ]
    for example, message in bad:
        with pytest.raises(QueryError, match=message) as caught:
            resolved(detector, example)
        assert "\n" not in str(caught.value)


def test_a_silent_one_among_several_is_skipped_and_told(detector: Htsat, tmp_path: Path) -> None:
    silent = write(tmp_path / "silent.wav", np.zeros((1, RATE), np.float32))
    good = write(tmp_path / "good.wav", noise(2))
    condition = resolved(detector, silent, good)
    assert torch.equal(condition.vectors[0], resolved(detector, good).vectors[0])
    assert condition.examples_used == 1
    assert "silent.wav" in condition.warnings[0]
    with pytest.raises(QueryError, match="None of the 2 examples"):
        resolved(detector, silent, silent)


def test_spans(detector: Htsat) -> None:
    mixture = noise(10)

    def read(onset_s: float, offset_s: float) -> Audio:
        return Audio(mixture[:, round(onset_s * RATE) : round(offset_s * RATE)], RATE)

    condition = resolve(Query.span(3, 5), detector, read)
    assert torch.equal(condition.vectors[0], embed(detector, torch.from_numpy(mixture[:, 96_000:160_000]))[0])
    for span, message in [((11, 12), "outside"), ((9, 12), r"ends at 10\.00 s")]:
        with pytest.raises(QueryError, match=message):
            resolve(Query.span(*span), detector, read)
    mixture[:] = 0
    with pytest.raises(QueryError, match="silent"):
        resolve(Query.span(3, 5), detector, read)
    with pytest.raises(QueryError, match="a stream has none"):
        resolve(Query.span(3, 5), detector)


def test_batches_are_bounded(detector: Htsat, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(network: Htsat, waves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sizes.append(len(waves))
        return torch.zeros(len(waves), 16), torch.zeros(len(waves), 4)

    monkeypatch.setattr(examples_module, "embed_and_profile", counted)
    resolved(detector, Audio(noise(70), RATE))
    assert sizes == [16, 16, 3]


def buzz(frequency_hz: float, seconds: float = 2.0, seed: int = 0) -> FloatArray:
    time_s = np.arange(round(seconds * RATE)) / RATE
    return (
        0.3 * np.sign(np.sin(2 * np.pi * frequency_hz * time_s))[None] + noise(seconds, gain=0.002, seed=seed)
    ).astype(np.float32)


def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put in the detector's place one whose embedding tells low from high sounds, as its first two values."""

    def heard(network: Htsat, waves: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        crossings = (waves[:, 1:].sign() != waves[:, :-1].sign()).float().mean(dim=1)
        high = (crossings > 0.1).float()
        vector = torch.zeros(len(waves), 16)
        vector[:, 0], vector[:, 1], vector[:, 2] = 1 - high, high, 0.05 * waves[:, 0].sign()
        return vector, torch.full((len(waves), 4), 0.5)

    monkeypatch.setattr(examples_module, "embed_and_profile", heard)


def test_an_example_unlike_the_others_does_not_count(
    detector: Htsat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf(monkeypatch)
    for number in range(4):
        write(tmp_path / f"low/{number}.wav", buzz(100, seed=number))
    odd = write(tmp_path / "low/odd.wav", buzz(5_000))
    condition = resolved(detector, tmp_path / "low")
    assert [(Path(example.name).name, example.used) for example in condition.examples] == [
        *((f"{number}.wav", True) for number in range(4)),
        ("odd.wav", False),
    ]
    assert condition.examples[4].reason == UNLIKE
    assert condition.vectors[0, 1] == 0
    assert (condition.examples_used, condition.seconds_used) == (4, 8.0)
    assert condition.warnings == (f"1 of 5 examples are {UNLIKE} and were left out: {odd}.",)


def test_300_examples_of_which_many_are_silent_or_alien(detector: Htsat, monkeypatch: pytest.MonkeyPatch) -> None:
    deaf(monkeypatch)
    low = [Audio(buzz(100, 0.2, seed=number), RATE) for number in range(20)]
    alien, silent = Audio(buzz(5_000, 0.2), RATE), Audio(np.zeros((1, 6_400), np.float32), RATE)
    examples = [low[number % 20] for number in range(200)] + [alien] * 60 + [silent] * 40
    condition = resolved(detector, *examples)
    reasons = [example.reason for example in condition.examples]
    assert reasons[:260] == [None] * 200 + [UNLIKE] * 60
    assert all(reason is not None and "silent" in reason for reason in reasons[260:])
    torch.testing.assert_close(condition.vectors[0, :2], torch.tensor([1.0, 0.0]))
    assert condition.seconds_used == pytest.approx(40.0)
    *few, more, left_out = condition.warnings
    assert len(few) == 3
    assert more.startswith("37 more warnings like these")
    assert left_out.startswith("60 of 260 examples are unlike")


def test_queries_for_one_sound_are_compared_with_each_other(
    detector: Htsat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf(monkeypatch)
    low = [Query.audio(write(tmp_path / f"{number}.wav", buzz(100, seed=number))) for number in range(2)]
    queries = [Query.audio(write(tmp_path / "odd.wav", buzz(5_000))), *low]
    together = resolve_all(queries, Ear(detector, CPU), together=True)
    assert [len(condition.vectors) for condition in together] == [0, 1, 1]
    assert UNLIKE in together[0].warnings[0]
    apart = resolve_all(queries, Ear(detector, CPU))
    assert [len(condition.vectors) for condition in apart] == [1, 1, 1]
    assert not any(condition.warnings for condition in apart)
    two = resolve_all(queries[:2], Ear(detector, CPU), together=True)
    assert [len(condition.vectors) for condition in two] == [1, 1]
    assert "unlike each other" in two[0].warnings[0]


def test_a_stretch_unlike_the_rest_of_an_example_does_not_count(
    detector: Htsat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf(monkeypatch)
    samples = np.concatenate([buzz(100, 4.0), buzz(5_000, 2.0), buzz(100, 4.0)], axis=1)
    condition = resolved(detector, write(tmp_path / "a.wav", samples))
    assert condition.vectors[0, 1] == 0
    assert condition.seconds_used == 8.0
    assert condition.warnings == (
        f"2 of the 10 s heard in '{tmp_path / 'a.wav'}' are unlike the rest and were left out.",
    )


def test_a_label_gives_the_banks_conditions(detector: Htsat) -> None:
    rows = tuple(BankRow(label=label, examples=4) for label in ("Dog", "Horse", "Rain"))
    bank = LabelBank(rows, torch.randn(3, 16), torch.rand(3, 4))
    one, several = resolve_all([Query.label("rain"), Query.label("Animal")], Ear(detector, CPU), bank, together=True)
    assert torch.equal(one.vectors, bank.conditions[2:])
    assert torch.equal(several.vectors, bank.conditions[:2].mean(dim=0, keepdim=True))
    assert torch.equal(several.profiles, bank.profiles[:2].mean(dim=0, keepdim=True))
    assert [example.name for example in several.examples] == ["Dog", "Horse"]
    with pytest.raises(QueryError, match=r"no label bank.*--build"):
        resolve(Query.label("Dog"), detector)
