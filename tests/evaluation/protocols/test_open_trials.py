"""How trials are put together into passes, what figures they get, and what the trials of robustness are."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from open_data import make_open_data

from querysep.errors import QueryError
from querysep.evaluation.protocols.open_mixtures import SAMPLE_RATE, OpenMixtures
from querysep.evaluation.protocols.open_trials import (
    Trial,
    audio_query,
    figures,
    robustness_tasks,
    robustness_trials,
    separate_trials,
)
from querysep.queries.query import Query
from querysep.types import Audio

RATE = 32_000


def _wave(seed: int, channels: int = 1) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal((channels, 4_000))).astype(np.float32)


def _trial(mixture: NDArray[np.float32], query: Query, **facts: Any) -> Trial:
    return Trial("group", "Dog", query, mixture, RATE, **facts)


def _separation(target: NDArray[np.float32], mixture: NDArray[np.float32]) -> Any:
    return SimpleNamespace(target=Audio(target, RATE), residual=Audio(mixture - target, RATE), presence=0.5)


class Recording:
    """A separator that notes its queries; it knows no label but Dog."""

    def __init__(self) -> None:
        self.passes: list[list[str]] = []

    def separate_each(self, mixture: Audio, queries: list[Query]) -> list[str]:
        self.passes.append([query.text for query in queries])
        for query in queries:
            if query.kind == "label" and query.text != "label:Dog":
                raise QueryError(f"'{query.text}' is not known.")
        return [query.text for query in queries]


def _separated(separator: Any, trials: list[Trial]) -> list[Any]:
    return list(separate_trials(separator, trials))


def test_trials_of_one_mixture_are_one_pass() -> None:
    one, other, separator = _wave(1), _wave(2), Recording()
    trials = [
        _trial(one, Query.label("Dog")),
        _trial(other, Query.label("Dog")),
        _trial(one, Query.label("Dog")),
    ]
    assert _separated(separator, trials) == ["label:Dog"] * 3
    assert sorted(map(len, separator.passes)) == [1, 2]


def test_only_what_the_model_lacks_has_no_result() -> None:
    mixture, separator = _wave(1), Recording()
    known, unknown = Query.label("Dog"), Query.label("Unicorn")
    trials = [_trial(mixture, query, may_fail=True) for query in (unknown, known)]
    assert _separated(separator, trials) == [None, "label:Dog"]
    with pytest.raises(QueryError, match="Unicorn"):
        _separated(separator, [_trial(mixture, unknown)])


def test_scenes_count_inside_events_and_outside_their_margins() -> None:
    target, bed, estimate = np.zeros((1, RATE), np.float32), _long(1), _long(2)
    events = ((5_000, 10_000), (20_000, 24_000))
    for start, end in events:
        target[:, start:end] = 0.1
        estimate[:, start:end] = target[:, start:end] + 0.1 * bed[:, start:end]
        for margin in (slice(start - 3_200, start), slice(end, end + 3_200)):
            estimate[:, margin] = 7.0  # not counted
    rest = np.ones(RATE, dtype=bool)
    rest[1_800:13_200], rest[16_800:27_200] = False, False
    estimate[:, rest] = 0.01 * bed[:, rest]
    trial = _trial(target + bed, Query.label("Dog"), target=target, events=events)
    found = figures(trial, _separation(estimate, target + bed))
    assert found["inside_sdri_db"] == pytest.approx(20.0, abs=1e-3)
    assert found["outside_db"] == pytest.approx(-40.0, abs=1e-3)
    assert found["sdri_db"] < 0


def test_noise_says_how_loud_the_target_is() -> None:
    noise = _wave(1)
    found = figures(_trial(noise, Query.label("Dog"), alone=True), _separation(noise * np.float32(0.1), noise))
    assert found == {"presence": 0.5, "target_db": pytest.approx(-20.0, abs=1e-3)}


def _long(seed: int) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(seed).standard_normal((1, RATE))).astype(np.float32)


def test_improvements_count_from_where_the_trial_says() -> None:
    target, residual = _wave(1), _wave(2)
    mixture = target + residual
    estimate = target + 0.1 * residual
    trial = _trial(mixture, Query.label("Dog"), target=target)
    values = figures(trial, _separation(estimate, mixture))
    assert values["sdri_db"] == pytest.approx(20.0, abs=1e-3)
    assert values["si_sdri_db"] == pytest.approx(20.0, abs=0.5)
    assert values["presence"] == 0.5 and values["consistency_error_db"] < -120
    estimate[:, :1000] = 3.0
    later = _trial(mixture, Query.label("Dog"), target=target, measured_from=1000)
    assert figures(later, _separation(estimate, mixture))["sdri_db"] == pytest.approx(20.0, abs=1e-3)
    assert figures(trial, _separation(estimate, mixture))["sdri_db"] < 0


def test_a_residual_that_does_not_add_up_is_seen() -> None:
    target, residual = _wave(1), _wave(2)
    separation = _separation(target, target + residual)
    separation.residual = Audio(0.9 * residual, RATE)
    error_db = figures(_trial(target + residual, Query.label("Dog"), target=target), separation)["consistency_error_db"]
    assert error_db == pytest.approx(
        20 * np.log10(0.1 * np.abs(residual).max() / np.abs(target + residual).max()), abs=1e-3
    )


def test_sounds_alone_and_absent_ones_have_their_own_figures() -> None:
    wave = _wave(1)
    alone = _trial(wave, Query.label("Dog"), target=wave, alone=True)
    assert figures(alone, _separation(0.9 * wave, wave)) == {
        "presence": 0.5,
        "clean_snr_db": pytest.approx(20.0, abs=1e-3),
    }
    absent = _trial(wave, Query.label("Dog"))
    assert figures(absent, _separation(0.1 * wave, wave)) == {
        "presence": 0.5,
        "silence_sdr_db": pytest.approx(20.0, abs=1e-3),
    }


def test_the_stereo_image_is_the_balance_of_the_channels() -> None:
    target, residual = _wave(1, 2) * np.array([[1.0], [0.5]], np.float32), _wave(2, 2)
    mixture = target + residual
    trial = _trial(mixture, Query.label("Dog"), target=target)
    assert figures(trial, _separation(0.3 * target, mixture))["image_error_db"] == pytest.approx(0.0, abs=1e-3)
    mirrored = target * np.array([[1.0], [2.0]], np.float32)
    assert figures(trial, _separation(mirrored, mixture))["image_error_db"] == pytest.approx(6.02, abs=0.01)
    mono = _trial(mixture[:1], Query.label("Dog"), target=target[:1])
    assert "image_error_db" not in figures(mono, _separation(target[:1], mixture[:1]))


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> OpenMixtures:
    return OpenMixtures(make_open_data(tmp_path_factory.mktemp("open"), recordings=12, stems=False))


def _groups(trials: list[Trial]) -> dict[str, list[Trial]]:
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial.group, []).append(trial)
    return found


def test_examples(mixtures: OpenMixtures) -> None:
    groups = _groups(robustness_trials(mixtures, "examples", 0))
    stems = mixtures.draw("seen", 0).stems
    for number, stem in enumerate(stems):
        ten = mixtures.examples(stem, 10)
        for group, indices in (
            ("one example", ten[:1]),
            ("1 of 10 examples", ten[:1]),
            ("3 of 10 examples", ten[:3]),
            ("10 of 10 examples", ten),
            ("wrong query", mixtures.examples(stems[1 - number])),
        ):
            trial = groups[group][number]
            assert trial.label == stem.label
            wanted = audio_query(mixtures, indices).sounds
            assert len(trial.query.sounds) == len(wanted)
            for one, other in zip(trial.query.sounds, wanted, strict=True):
                np.testing.assert_array_equal(one.samples, other.samples)
        clean = groups["one example"][number].query.sounds[0].samples
        noise = groups["one example in noise"][number].query.sounds[0].samples - clean
        assert 10 * np.log10(np.square(clean).sum() / np.square(noise).sum()) == pytest.approx(10.0, abs=0.2)


def test_a_class_of_few_recordings_has_no_row_with_ten_examples(tmp_path: Path) -> None:
    few = OpenMixtures(make_open_data(tmp_path, recordings=10, stems=False))
    groups = _groups(robustness_trials(few, "examples", 0))
    assert len(groups["one example"]) == 2 and "10 of 10 examples" not in groups and "1 of 10 examples" not in groups


def test_lengths(mixtures: OpenMixtures) -> None:
    groups = _groups(robustness_trials(mixtures, "length", 1))
    original = mixtures.draw("seen", 1)
    assert {group: one[0].mixture.shape[1] / SAMPLE_RATE for group, one in groups.items()} == {
        "length 0.3 s": 0.3,
        "length 1 s": 1.0,
        "length 10 s": 10.0,
        "length 60 s": 60.0,
    }
    long, time = groups["length 60 s"][0].mixture[0], len(original.wave)
    np.testing.assert_allclose(long[2 * time : 3 * time], original.wave, atol=1e-6)
    for trial in groups["length 0.3 s"]:
        assert trial.target is not None
        stem = next(stem for stem in original.stems if stem.label == trial.label)
        assert np.square(trial.target).mean() > 0.1 * np.square(stem.wave).mean()  # not a silent stretch
    assert robustness_trials(mixtures, "long", 1)[0].mixture.shape == (1, 600 * SAMPLE_RATE)


def test_levels(mixtures: OpenMixtures) -> None:
    groups = _groups(robustness_trials(mixtures, "level", 2))
    for level_dbfs in (0, -20, -40):
        for trial in groups[f"level {level_dbfs} dBFS"]:
            assert trial.target is not None
            assert 20 * np.log10(np.abs(trial.mixture).max()) == pytest.approx(level_dbfs, abs=1e-3)
            loud = next(one for one in groups["level 0 dBFS"] if one.label == trial.label)
            np.testing.assert_array_equal(loud.query.sounds[0].samples, trial.query.sounds[0].samples)


def test_stereo(mixtures: OpenMixtures) -> None:
    for trial, sign in zip(robustness_trials(mixtures, "stereo", 3), (1, -1), strict=True):
        assert trial.target is not None and trial.mixture.shape[0] == 2
        left, right = np.square(trial.target).sum(axis=1)
        assert 10 * np.log10(left / right) == pytest.approx(sign * 4.77, abs=0.01)


def test_the_longest_mixtures_are_a_tenth() -> None:
    tasks = robustness_tasks(50)
    assert sum(variation == "long" for variation, _ in tasks) == 5
    assert sum(variation == "stereo" for variation, _ in tasks) == 50
    assert sum(variation == "long" for variation, _ in robustness_tasks(3)) == 1
