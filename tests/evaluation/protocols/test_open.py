"""The ``open`` protocol on a small set: rows, groups, other queries and models, robustness, sounds."""

import pickle
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from open_data import make_open_data

from querysep.errors import ConfigError
from querysep.evaluation.protocols import open as open_protocol
from querysep.evaluation.protocols.open import OpenProtocol
from querysep.evaluation.protocols.open_trials import Trial
from querysep.evaluation.protocols.protocol import Row
from querysep.evaluation.report.tables import markdown
from querysep.io.label_bank import BANK_NAME
from querysep.io.text_map import TEXT_NAME
from querysep.queries.bank import Bank


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_open_data(tmp_path_factory.mktemp("open"), recordings=12)


@pytest.fixture(scope="module", autouse=True)
def _short() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("querysep.evaluation.protocols.open_mixtures.LONGEST_S", 2.2)
        patch.setattr("querysep.evaluation.protocols.open_mixtures.NOISE_S", 1.0)
        yield


def _protocol(folder: Path, model: Path, mixtures: int = 1, **settings: Any) -> OpenProtocol:
    return OpenProtocol(folder, model, device="cpu", mixtures=mixtures, **settings)


def _measure(protocol: OpenProtocol, *kinds: str) -> list[Row]:
    tasks = [task for task in protocol.tasks() if not kinds or task.startswith(kinds)]
    return [row for task in tasks for row in protocol.measure(task)]


def test_rows_and_table(folder: Path, tiny_model: Path) -> None:
    protocol = _protocol(folder, tiny_model, mixtures=2)
    rows = _measure(protocol)
    found = {one.name: one for one in protocol.summarise(rows)}
    counts = {name: one.count for name, one in found.items() if ": " not in name}
    assert counts == {
        **dict.fromkeys(("pink noise", "brown noise", "white noise"), 2),
        "seen": 4,
        "absent": 2,
        "held-out": 2,
        "seen beside held-out": 2,
        "three sources": 6,
        "stems": 4,
        "speech over music": 2,
        "music under speech": 2,
        "clean": 2,
        "presence": 6,
    }
    seen = [row for row in rows if row.group == "seen"]
    values = found["seen"].values
    for metric in ("sdri_db", "si_sdri_db", "ideal_ratio_mask_sdri_db"):
        assert values[metric] == pytest.approx(np.mean([row.values[metric] for row in seen]))
        low, high = found["seen"].intervals[metric]
        assert low <= values[metric] <= high
    assert values["made_worse"] == np.mean([row.values["sdri_db"] < 0 for row in seen])
    assert values["ideal_ratio_mask_sdri_db"] > 10 > values["sdri_db"]
    assert values["consistency_error_db"] < -120
    assert found["absent"].values.keys() == {"presence", "silence_sdr_db"}
    assert found["clean"].values.keys() == {"presence", "clean_snr_db"}
    assert 0 <= found["presence"].values["presence_auc"] <= 1
    assert sum(one.count for name, one in found.items() if name.startswith("seen: ")) == 4
    assert any(name.startswith("held-out: ") for name in found)
    assert [row for row in rows if row.task.startswith("stems")] == _measure(protocol, "stems")


def test_a_perfect_model(folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    protocol = _protocol(folder, tiny_model)

    def perfect(separator: object, trials: list[Trial]) -> list[object]:
        separations = []
        for trial in trials:
            target = trial.mixture * 0 if trial.target is None else trial.target
            presence = 0.1 if trial.target is None else 0.9
            separations.append(_separation(target, trial.mixture - target, presence))
        return separations

    monkeypatch.setattr(open_protocol, "separate_trials", perfect)
    found = {one.name: one.values for one in protocol.summarise(_measure(protocol))}
    assert found["three sources"]["sdri_db"] > 100 and found["three sources"]["made_worse"] == 0
    assert found["clean"]["clean_snr_db"] == 120 and found["absent"]["silence_sdr_db"] > 40
    assert found["presence"]["presence_auc"] == 1
    assert found["presence"]["presence_calibration_error"] == pytest.approx(0.1, abs=1e-6)


def _separation(target: np.ndarray, residual: np.ndarray, presence: float) -> object:
    from types import SimpleNamespace

    from querysep.types import Audio

    return SimpleNamespace(target=Audio(target, 32_000), residual=Audio(residual, 32_000), presence=presence)


def test_other_kinds_of_query_are_groups_and_what_the_model_lacks_is_said(
    folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    protocol = _protocol(folder, tiny_model, queries=("example", "label", "span", "text"))
    rows = _measure(protocol, "seen", "held-out")
    found = {one.name: one.count for one in protocol.summarise(rows)}
    assert found["seen, by span"] == found["seen"] == 2 and found["held-out, by span"] == 1
    by_label = [row.label for row in rows if row.group == "seen, by label"]
    assert set(by_label) <= {"Dog", "Bell", "Rain", "Speech", "Music"}  # the bank of the tiny model, and a parent
    assert len(by_label) > 0 and "held-out, by label" not in found
    assert found["seen, by text"] == found["seen, by label"]  # the exact name of a class
    spans = [row for row in rows if row.group == "seen, by span"]
    plain = [row for row in rows if row.group == "seen"]
    for span, example in zip(spans, plain, strict=True):
        oracle = span.values["ideal_ratio_mask_sdri_db"]
        assert oracle == pytest.approx(example.values["ideal_ratio_mask_sdri_db"])
    bare = shutil.copytree(tiny_model, tmp_path / "bare", ignore=shutil.ignore_patterns(TEXT_NAME, BANK_NAME))
    protocol = _protocol(folder, bare, queries=("example", "label", "text"))
    found = {one.name: one.count for one in protocol.summarise(_measure(protocol, "seen"))}
    assert found["by text: the model answers no such query"] == found["by label: the model answers no such query"] == 0


def test_a_bank_of_other_recordings_queries_like_examples(folder: Path, tiny_model: Path) -> None:
    protocol = _protocol(folder, tiny_model, queries=("example", "bank"))
    rows = [row for task in ("seen/0000", "clean/0000") for row in protocol.measure(task)]
    by_bank = [row for row in rows if row.group == "seen, by bank"]
    assert [row.label for row in by_bank] == [row.label for row in rows if row.group == "seen"]
    assert not any(row.task.startswith("clean") for row in rows if row.facts.get("way") == "bank")
    again = pickle.loads(pickle.dumps(protocol)).measure("seen/0000")
    assert [row for row in again if row.group == "seen, by bank"] == by_bank
    assert "estimate" in protocol.sounds(by_bank[0])
    drawn = protocol._open()
    stem = drawn.draw("seen", 0).stems[0]
    bank = protocol._temporary_bank()
    assert bank is not None
    kept = Bank(bank.place).find("seen 0 0")
    assert {sound.source for sound in kept.sounds} == {
        Path(drawn.clips[one].path).name for one in drawn.examples(stem, 5)
    }
    assert Path(stem.clip).name not in {sound.source for sound in kept.sounds}


def test_other_models_get_the_same_mixtures(folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "twin").symlink_to(tiny_model)
    protocol = _protocol(folder, tiny_model, compare=[tmp_path / "twin"])
    rows = _measure(protocol, "seen")
    ours = [row for row in rows if row.group == "seen"]
    theirs = [row for row in rows if row.group == "seen, twin"]
    assert [row.values["sdri_db"] for row in ours] == [row.values["sdri_db"] for row in theirs]
    assert {row.facts["model"] for row in theirs} == {"twin"} and len(theirs) == 2
    assert "presence, twin" in {one.name for one in protocol.summarise(rows)}
    assert protocol.sounds(theirs[0]).keys() == {"mixture", "target", "estimate", "query"}
    compared = protocol.settings()["compare"]
    assert isinstance(compared, Mapping) and list(compared) == ["twin"]
    with pytest.raises(ConfigError, match="same name"):
        _protocol(folder, tiny_model, compare=["a/twin", "b/twin"])


def test_robustness(folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("querysep.evaluation.protocols.open_trials.LENGTHS_S", (0.3, 3.0))
    monkeypatch.setattr("querysep.evaluation.protocols.open_trials.LONG_S", 4.0)
    monkeypatch.setattr(open_protocol, "COST_LENGTHS_S", (1.0,))
    protocol = _protocol(folder, tiny_model, robustness=True, robustness_mixtures=1)
    rows = _measure(protocol, "robustness", "cost")
    found = {one.name: one for one in protocol.summarise(rows)}
    counts = {
        **dict.fromkeys(("one example", "one example in noise", "wrong query"), 2),
        **dict.fromkeys(("1 of 10 examples", "3 of 10 examples", "10 of 10 examples"), 2),
        **dict.fromkeys(("length 0.3 s", "length 3 s", "length 4 s"), 2),
        **dict.fromkeys(("level 0 dBFS", "level -20 dBFS", "level -40 dBFS"), 2),
        "level, largest change of one mixture": 2,
        "stereo": 2,
        "cost, 1 s": 1,
    }
    assert {name: one.count for name, one in found.items()} == counts
    assert found["level, largest change of one mixture"].values["sdri_change_db"] < 0.1
    assert found["stereo"].values["image_error_db"] < 9.6  # what the mixture itself has is 4.8
    assert found["cost, 1 s"].values["peak_memory_mib"] > 50
    assert found["cost, 1 s"].values["real_time_factor"] > 0
    long = protocol.sounds(next(row for row in rows if row.group == "length 4 s"))
    assert long["mixture"].duration_s == 4.0
    assert protocol.sounds(next(row for row in rows if row.group.startswith("cost"))) == {}


def test_everyday_sounds_come_first(tmp_path: Path, tiny_model: Path) -> None:
    folder = make_open_data(tmp_path, stems=False, everyday=True)
    protocol = _protocol(folder, tiny_model, mixtures=2, queries=("example", "three examples"))
    rows = _measure(protocol, "everyday", "seen")
    names = [one.name for one in protocol.summarise(rows)]
    assert names[:2] == ["everyday", "everyday, by three examples"]
    assert names.index("everyday presence") < names.index("presence")
    found = {one.name: one for one in protocol.summarise(rows)}
    assert found["everyday"].count == 4 and found["everyday absent"].count == 2
    assert 0 <= found["everyday presence"].values["presence_auc"] <= 1
    assert sum(one.count for name, one in found.items() if name.startswith("everyday: ")) == 4
    three = [row for row in rows if row.group == "everyday, by three examples"]
    assert {row.label for row in three} <= {"Rain"}  # of the others two are of other origins
    assert "kinds" not in protocol.settings() and "split" not in protocol.settings()


def test_kinds_and_sides_are_chosen(tmp_path: Path, tiny_model: Path) -> None:
    folder = make_open_data(tmp_path, stems=False, everyday=True)
    protocol = _protocol(folder, tiny_model, kinds=["everyday"], split="validation")
    assert protocol.tasks() == ["everyday/0000"]
    assert protocol.settings()["kinds"] == ["everyday"] and protocol.settings()["split"] == "validation"
    assert all(row.facts["clip"].startswith("validation/") for row in _measure(protocol) if "clip" in row.facts)
    with pytest.raises(
        ConfigError, match=r"'stems' is not a kind of mixture that the data set has.*everyday, scenes, noise, seen"
    ):
        _protocol(folder, tiny_model, kinds=["stems"])
    with pytest.raises(ConfigError, match="'all' is not a split of the protocol open"):
        _protocol(folder, tiny_model, split="all")


def test_scenes_are_measured_inside_and_outside_their_events(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("querysep.evaluation.protocols.open_mixtures.SHORTEST_BED_S", 2.0)
    folder = make_open_data(tmp_path, stems=False, everyday=True)
    protocol = _protocol(folder, tiny_model, kinds=["scenes"], mixtures=2, queries=("example", "label", "span"))

    def half(separator: object, trials: list[Trial]) -> list[object]:
        return [_separation(trial.mixture * np.float32(0.5), trial.mixture, 0.5) for trial in trials]

    monkeypatch.setattr(open_protocol, "separate_trials", half)
    rows = _measure(protocol)
    assert {row.group for row in rows} == {"scenes", "scenes, by label", "scenes, by span"}
    assert all("Rain" in row.facts["beside"] for row in rows)
    for row in rows:
        assert row.values["outside_db"] == pytest.approx(-6.02, abs=0.01)
        assert row.values["inside_sdri_db"] == pytest.approx(3.0, abs=1.0)  # 0 dB, but where another sound joins in
        assert row.values["sdri_db"] > row.values["inside_sdri_db"]
    found = {one.name: one for one in protocol.summarise(rows)}
    medians = found["scenes, median"]
    assert medians.values["inside_sdri_db"] == np.median([row.values["inside_sdri_db"] for row in rows[:1] + rows[3:4]])
    assert medians.intervals.keys() == medians.values.keys() and "scenes, by span, median" in found


def test_noise_is_asked_for_by_each_class_in_three_colors(folder: Path, tiny_model: Path) -> None:
    protocol = _protocol(folder, tiny_model, kinds=["noise"], mixtures=100, queries=("example", "label", "text"))
    assert len(protocol.tasks()) == 3 * 4  # Rain is like noise
    rows = [row for task in protocol.tasks()[:3] for row in protocol.measure(task)]
    assert [row.group for row in rows if row.facts["way"] == "example"] == [
        "pink noise",
        "brown noise",
        "white noise",
    ]
    assert {"pink noise, by label", "white noise, by text"} <= {row.group for row in rows}
    assert all(row.values.keys() == {"presence", "target_db"} for row in rows)
    assert protocol.sounds(rows[0]).keys() == {"mixture", "target", "estimate", "query"}
    louder = [
        Row(task=f"noise/{number}", group="pink noise", label="Dog", values={"target_db": level})
        for number, level in enumerate((-19.0, -21.0))
    ]
    (found,) = protocol.summarise(louder)[:1]
    assert found.values == {"target_db": -20.0, "not_silent": 0.5}


def test_classes_are_listed_by_example_and_by_name_the_weakest_first(folder: Path, tiny_model: Path) -> None:
    protocol = _protocol(folder, tiny_model, queries=("example", "label"))
    figures = {"Dog": (1.0, 3.0, 2.0), "Bell": (0.0, 1.0, -4.0), "Rain": (-9.0,)}
    rows = [
        Row(task=f"{group}/{number}", group=group, label=label, values={"sdri_db": sdri})
        for label, some in figures.items()
        for number, (group, sdri) in enumerate(zip(("everyday", "seen", "seen"), some, strict=False))
    ]
    rows.append(Row(task="seen/9", group="seen, by label", label="Dog", values={"sdri_db": 7.0}))
    found = [one for one in protocol.summarise(rows) if one.name.startswith(("weakest: ", "everyday and seen: "))]
    assert [(one.name, one.count, one.values["sdri_db"]) for one in found] == [
        ("weakest: Bell", 3, -1.0),
        ("weakest: Dog", 3, 2.0),  # Rain was asked for once
        ("everyday and seen: Bell", 3, -1.0),
        ("everyday and seen: Dog", 3, 2.0),
        ("everyday and seen: Rain", 1, -9.0),
    ]
    assert [one.values["sdri_by_label_db"] for one in found[2:]] == pytest.approx([np.nan, 7.0, np.nan], nan_ok=True)
    assert "| Bell" not in markdown(found, "sdri_db") and "| everyday and seen: Dog | 3 | 2.00 | 7.00 |" in markdown(
        found, "sdri_db"
    )


def test_levels_that_change_the_result_are_seen(folder: Path, tiny_model: Path) -> None:
    protocol = _protocol(folder, tiny_model)
    rows = [
        Row(task=task, group=f"level {level} dBFS", label="Dog", values={"sdri_db": sdri}, facts={"part": "0"})
        for task, level, sdri in (("a", 0, 1.0), ("a", -40, 1.5), ("b", 0, 7.0), ("b", -40, 7.2))
    ]
    change = next(one for one in protocol.summarise(rows) if one.name.startswith("level, largest"))
    assert change.values == {"sdri_change_db": 0.5} and change.count == 2


def test_it_travels_small_and_measures_the_same_there(folder: Path, tiny_model: Path) -> None:
    protocol = _protocol(folder, tiny_model)
    rows = protocol.measure("seen/0000")
    packed = pickle.dumps(protocol)
    assert len(packed) < 2000
    assert pickle.loads(packed).measure("seen/0000") == rows


def test_sounds_of_a_row_have_its_figures(folder: Path, tiny_model: Path) -> None:
    from querysep.evaluation.metrics.signal import snr_db

    protocol = _protocol(folder, tiny_model, queries=("example", "span"))
    for row in protocol.measure("seen/0000"):
        sounds = protocol.sounds(row)
        mixture, target, estimate = (sounds[name].samples for name in ("mixture", "target", "estimate"))
        if row.group == "seen":
            sdri = snr_db(target, estimate) - snr_db(target, mixture)
            assert sdri == pytest.approx(row.values["sdri_db"], abs=1e-6)
        assert mixture.shape == target.shape == estimate.shape
        assert (row.group == "absent") == (not target.any())
        assert ("query" in sounds) == (row.facts["way"] == "example")


def test_unknown_options_are_refused(folder: Path, tiny_model: Path) -> None:
    with pytest.raises(ConfigError, match="'smell' is not a query of the protocol open"):
        _protocol(folder, tiny_model, queries=["smell"])
    with pytest.raises(ConfigError, match="Choose among: nmf"):
        _protocol(folder, tiny_model, baselines=["magic"])
