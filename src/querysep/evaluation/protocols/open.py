"""The ``open`` protocol: SDR improvement on mixtures of a data set's test side, by queries from other recordings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from querysep.data.manifest import Split
from querysep.errors import ConfigError, QueryError
from querysep.evaluation.metrics.classification import calibration_error, presence_auc
from querysep.evaluation.metrics.cost import measure_cost
from querysep.evaluation.metrics.intervals import bootstrap_interval, median, median_interval
from querysep.evaluation.metrics.signal import snr_db
from querysep.evaluation.protocols.baselines import ideal_ratio_mask, separate_by_nmf
from querysep.evaluation.protocols.open_mixtures import Kind, OpenMixtures
from querysep.evaluation.protocols.open_trials import (
    QueryKind,
    TemporaryBank,
    Trial,
    Variation,
    figures,
    mixture_trials,
    robustness_tasks,
    robustness_trials,
    separate_trials,
)
from querysep.evaluation.protocols.protocol import Protocol, Row, Summary, of_rows
from querysep.model import load_model
from querysep.pipeline import Separation, Separator
from querysep.types import Audio

COST_LENGTHS_S = (10.0, 600.0)
BASELINES = ("nmf",)
_BY_CLASS = ("everyday", "seen", "held-out", "stems")
_ABSENT = {"everyday absent": ("everyday", "everyday presence"), "absent": ("seen", "presence")}
"""Groups of absent sounds, those of present ones in the same mixtures, and what tells them apart."""
_ROUNDS = 500
_WEAKEST, _FEWEST = 10, 3


class OpenProtocol(Protocol):
    """SDR improvement on mixtures of a data set's test side.

    Args:
        data: a data set of any layout; its folder may hold ``multitrack.jsonl`` beside the manifest.
        model: name of a bundled model, or a weights folder.
        mixtures: of each kind; of noise, classes that it is asked for.
        seed: of the choice of mixtures.
        device: auto, cpu, cuda or mps.
        queries: kinds of query: example, three examples (where the class has as many), label, span, text, and bank (an
            entry of up to five recordings).
        compare: other models, by name or folder, by example on the same mixtures.
        baselines: slow baselines to measure beside: nmf.
        robustness: measure also what examples, lengths, levels, stereo, time and memory do.
        robustness_mixtures: mixtures for each of these.
        kinds: of mixture, to measure these alone; by default all that the data set has sounds for.
        split: side of the data set; validation to choose by, for figures that count the test side.

    Raises:
        DataError: the data set cannot be used.
        ConfigError: a query, baseline or split is unknown, the data has no sounds for a kind of mixture, or two models
            have one name.
    """

    name = "open"
    version = 3
    headline = "sdri_db"

    def __init__(
        self,
        data: str | Path,
        model: str | Path = "default",
        *,
        mixtures: int = 500,
        seed: int = 0,
        device: str = "auto",
        queries: Sequence[str] = ("example",),
        compare: Sequence[str | Path] = (),
        baselines: Sequence[str] = (),
        robustness: bool = False,
        robustness_mixtures: int = 50,
        kinds: Sequence[str] = (),
        split: str = "test",
    ) -> None:
        _check("query", queries, get_args(QueryKind))
        _check("baseline", baselines, BASELINES)
        _check("split", [split], get_args(Split))
        self._data, self._model, self._device, self._seed = str(data), str(model), device, seed
        self._mixtures, self._robustness_mixtures = mixtures, robustness_mixtures
        self._query_kinds = cast(tuple[QueryKind, ...], tuple(queries))
        self._baselines, self._robustness = tuple(baselines), robustness
        self._compared = {Path(other).name: str(other) for other in compare}
        if len(self._compared) < len(compare):
            raise ConfigError("Two of the models to compare with have the same name. Rename one's folder.")
        self._separators: dict[str, Separator] = {}
        self._split = cast(Split, split)
        self._drawn: OpenMixtures | None = None
        self._bank: TemporaryBank | None = None
        self.data_hash = self._open().data_hash
        _check("kind of mixture that the data set has", kinds, self._open().kinds)
        self._kinds = tuple(kind for kind in self._open().kinds if not kinds or kind in kinds)
        self.warnings = self._open().warnings

    def __getstate__(self) -> dict[str, Any]:
        """Leave loaded models, lists of recordings and the bank behind: another process makes its own."""
        return self.__dict__ | {"_separators": {}, "_drawn": None, "_bank": None}

    def settings(self) -> Mapping[str, object]:
        """Return what else decides the figures."""
        restricted = {"kinds": list(self._kinds)} if self._kinds != self._open().kinds else {}
        side = {"split": self._split} if self._split != "test" else {}
        return {
            "mixtures": self._mixtures,
            "seed": self._seed,
            "queries": list(self._query_kinds),
            "compare": {name: load_model(place, "cpu").hash for name, place in self._compared.items()},
            "baselines": list(self._baselines),
            "robustness_mixtures": self._robustness_mixtures if self._robustness else 0,
            **restricted,
            **side,
        }

    def tasks(self) -> Sequence[str]:
        """Return a key for each mixture, and for each variation of robustness."""
        counts = {kind: self._open().count(kind, self._mixtures) for kind in self._kinds}
        keys = [
            f"{kind}/{index:04d}"
            for index in range(max(counts.values()))
            for kind, count in counts.items()
            if index < count
        ]
        if self._robustness:
            keys += [
                f"robustness {variation}/{index:04d}"
                for variation, index in robustness_tasks(self._robustness_mixtures)
            ]
            keys += [f"cost/{seconds:g}" for seconds in COST_LENGTHS_S]
        return keys

    def measure(self, task: str) -> list[Row]:
        """Measure a mixture or variation.

        Raises:
            DataError: a recording cannot be read.
            WeightsError: a model cannot be loaded.
        """
        head, _, tail = task.partition("/")
        if head == "cost":
            figure = measure_cost(self._model, self._device, float(tail))
            return [Row(task=task, group=f"cost, {tail} s", label="noise", values=figure)]
        rows = []
        for name, place in {"": self._model, **self._compared}.items():
            if name and not _compares(head):
                continue
            trials = self._trials(task, compared=name)
            for trial, separation in zip(trials, separate_trials(self._load(place), trials), strict=True):
                if separation is not None:
                    rows.append(self._row(task, trial, separation))
        return rows

    def _trials(self, task: str, compared: str = "") -> list[Trial]:
        """Return the trials of a task to the model measured, or to one compared with it."""
        head, _, index = task.partition("/")
        if not _compares(head):
            variation = cast(Variation, head.partition(" ")[2])
            return robustness_trials(self._open(), variation, int(index))
        query_kinds: tuple[QueryKind, ...] = ("example",) if compared else self._query_kinds
        trials = mixture_trials(self._open(), cast(Kind, head), int(index), query_kinds, self._temporary_bank())
        if not compared:
            return trials
        return [
            replace(one, group=f"{one.group}, {compared}", facts={**one.facts, "model": compared}) for one in trials
        ]

    def _row(self, task: str, trial: Trial, separation: Separation) -> Row:
        values = figures(trial, separation)
        if "sdri_db" in values and _compares(task.partition("/")[0]) and "model" not in trial.facts:
            values |= self._beside(trial)
        return Row(task=task, group=trial.group, label=trial.label, values=values, facts=trial.facts)

    def _beside(self, trial: Trial) -> dict[str, float]:
        """Measure the ideal ratio mask, and the baselines where there is an example."""
        assert trial.target is not None
        mixture, target = (wave[0, trial.measured_from :] for wave in (trial.mixture, trial.target))
        before = snr_db(target, mixture)
        values = {"ideal_ratio_mask_sdri_db": snr_db(target, ideal_ratio_mask(target, mixture - target)) - before}
        if "nmf" in self._baselines and trial.query.sounds:
            estimate = separate_by_nmf(mixture, trial.query.sounds[0].mono)
            values["nmf_sdri_db"] = snr_db(target, estimate) - before
        return values

    def summarise(self, rows: Sequence[Row]) -> list[Summary]:
        """Return means by group, the presence score's figures, and means by class."""
        return summarise_open(rows, [kind for kind in self._query_kinds if kind != "example"])

    def sounds(self, row: Row) -> dict[str, Audio]:
        """Make the sounds of a row again: mixture, target (silence for what is absent), estimate and query.

        Raises:
            DataError: a recording cannot be read.
            WeightsError: the model cannot be loaded.
        """
        if row.task.startswith("cost/"):
            return {}
        name = row.facts.get("model", "")
        trials = self._trials(row.task, compared=name)
        trial = next(one for one in trials if (one.group, one.facts) == (row.group, row.facts))
        separation = separate_trials(self._load(self._compared.get(name, self._model)), [trial])[0]
        if separation is None:
            raise QueryError(f"'{trial.query.text}': the model has no such query.")
        rate = trial.sample_rate
        silence = trial.mixture * 0
        sounds = {
            "mixture": Audio(trial.mixture, rate),
            "target": Audio(silence if trial.target is None else trial.target, rate),
            "estimate": separation.target,
        }
        return sounds | ({"query": trial.query.sounds[0]} if trial.query.sounds else {})

    def _open(self) -> OpenMixtures:
        if self._drawn is None:
            self._drawn = OpenMixtures(self._data, self._seed, self._split)
        return self._drawn

    def _load(self, place: str) -> Separator:
        if place not in self._separators:
            bank = self._temporary_bank()
            self._separators[place] = Separator.load(place, self._device, None if bank is None else bank.place)
        return self._separators[place]

    def _temporary_bank(self) -> TemporaryBank | None:
        if self._bank is None and "bank" in self._query_kinds:
            self._bank = TemporaryBank()
        return self._bank


def _compares(head: str) -> bool:
    """Say whether a task is a mixture that every model gets, and no variation of robustness."""
    return not head.startswith("robustness ")


def _check(what: str, given: Sequence[str], known: Sequence[str]) -> None:
    for one in given:
        if one not in known:
            raise ConfigError(f"'{one}' is not a {what} of the protocol open. Choose among: {', '.join(known)}.")


def summarise_open(rows: Sequence[Row], query_kinds: Iterable[str]) -> list[Summary]:
    """Return the summaries, the groups in the order in which they come first.

    Args:
        rows: of any number of tasks.
        query_kinds: kinds of query beside examples that were to be measured; those without a row are named.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    found = [of_rows(name, some) for name, some in groups.items()]
    found += [
        _medians(name, some) for name, some in groups.items() if any("inside_sdri_db" in row.values for row in some)
    ]
    found += _presences(groups)
    found += [
        Summary(name=f"by {query_kind}: the model answers no such query", count=0, values={})
        for query_kind in query_kinds
        if groups and not any(name.endswith(f", by {query_kind}") for name in groups)
    ]
    found += _level_change(rows)
    found += _classes(groups)
    for name in _BY_CLASS:
        some = groups.get(name, [])
        found += [
            of_rows(f"{name}: {label}", [row for row in some if row.label == label])
            for label in sorted({row.label for row in some})
        ]
    return found


def _presences(groups: dict[str, list[Row]]) -> list[Summary]:
    """Tell what is there from what is not, in everyday mixtures and those of two seen classes, for each model."""
    found = []
    for name, absent in groups.items():
        kind, _, model = name.partition(", ")
        if kind in _ABSENT:
            there, summary = _ABSENT[kind]
            after = f", {model}" if model else ""
            present = groups.get(f"{there}{after}", [])
            if present:
                found.append(_presence(f"{summary}{after}", present, absent))
    return found


def _presence(name: str, present: Sequence[Row], absent: Sequence[Row]) -> Summary:
    there, not_there = (np.array([row.values["presence"] for row in some]) for some in (present, absent))
    rng = np.random.default_rng(0)
    drawn = [presence_auc(rng.choice(there, len(there)), rng.choice(not_there, len(not_there))) for _ in range(_ROUNDS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Summary(
        name=name,
        count=len(present) + len(absent),
        values={
            "presence_auc": presence_auc(there, not_there),
            "presence_calibration_error": calibration_error(there, not_there),
        },
        intervals={"presence_auc": (float(low), float(high))},
    )


def _medians(name: str, rows: Sequence[Row]) -> Summary:
    """Return the medians of scenes: a few silent estimates decide a mean of ``outside_db``."""
    values, intervals = {}, {}
    for metric in ("inside_sdri_db", "outside_db", "sdri_db"):
        figures = np.array([row.values[metric] for row in rows if metric in row.values], dtype=np.float64)
        values[metric] = median(figures)
        if len(figures) > 1:
            intervals[metric] = median_interval(figures)
    return Summary(name=f"{name}, median", count=len(rows), values=values, intervals=intervals)


def _classes(groups: Mapping[str, Sequence[Row]]) -> list[Summary]:
    """Return the ten weakest classes by example, and where classes were asked for by name, each class both ways.

    A class is weak by the mean over its queries of the groups everyday and seen, of which it needs three.
    """
    by_example, by_label = (
        _by_class([row for name in ("everyday", "seen") for row in groups.get(f"{name}{way}", [])])
        for way in ("", ", by label")
    )
    means = {label: float(np.mean(figures)) for label, figures in by_example.items()}
    often = [label for label in means if len(by_example[label]) >= _FEWEST]
    found = [
        Summary(
            name=f"weakest: {label}",
            count=len(by_example[label]),
            values={"sdri_db": means[label]},
            intervals={"sdri_db": bootstrap_interval(by_example[label])},
        )
        for label in sorted(often, key=lambda label: means[label])[:_WEAKEST]
    ]
    if by_label:
        found += [
            Summary(
                name=f"everyday and seen: {label}",
                count=len(figures),
                values={
                    "sdri_db": means[label],
                    "sdri_by_label_db": float(np.mean(by_label[label])) if label in by_label else float("nan"),
                },
            )
            for label, figures in sorted(by_example.items())
        ]
    return found


def _by_class(rows: Sequence[Row]) -> dict[str, NDArray[np.float64]]:
    classes: dict[str, list[float]] = {}
    for row in rows:
        if "sdri_db" in row.values:
            classes.setdefault(row.label, []).append(row.values["sdri_db"])
    return {label: np.array(figures) for label, figures in classes.items()}


def _level_change(rows: Sequence[Row]) -> list[Summary]:
    """Say by how much the improvement differs at most between levels of one mixture."""
    by_query: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.group.startswith("level ") and "sdri_db" in row.values:
            by_query.setdefault((row.task, row.facts["part"]), []).append(row.values["sdri_db"])
    if not by_query:
        return []
    largest = max(max(values) - min(values) for values in by_query.values())
    name = "level, largest change of one mixture"
    return [Summary(name=name, count=len(by_query), values={"sdri_change_db": largest})]
