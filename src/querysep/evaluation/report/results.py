"""What an evaluation gives, and its file: figures together with all that is needed to repeat them."""

import json
import math
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from querysep.errors import DataError
from querysep.evaluation.protocols.protocol import Protocol, Row, Summary
from querysep.io.weights import read_folder
from querysep.model import bundled_models, first_problem

_LIBRARIES = ("querysep", "torch", "numpy", "torchmetrics", "museval", "musdb", "stempeg", "mir-eval")
"""Those that make a figure, as far as they are installed."""


class ModelFacts(BaseModel):
    """Which model was measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="as its weights folder calls it")
    hash: str = Field(description="of config and weights")


class Identity(BaseModel):
    """All that decides the figures: two evaluations with the same identity give the same table."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: str
    version: int
    settings: dict[str, Any]
    model: ModelFacts
    data_hash: str
    libraries: dict[str, str] = Field(description="name -> version")


class Results(BaseModel):
    """What ``results.json`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    identity: Identity
    seed: int | None = Field(description="null where the protocol draws nothing")
    command: str = Field(description="that repeats the evaluation; empty where it was run from Python")
    headline: str = Field(description="metric that counts first")
    summaries: list[Summary]
    rows: list[Row]

    def to_json(self) -> str:
        """Return valid JSON, a line for each summary and row; a figure that is not a number is null."""
        head = self.model_dump_json(exclude={"summaries", "rows"}, indent=1).rstrip().removesuffix("}").rstrip()
        summaries = ",\n".join(summary.model_dump_json() for summary in self.summaries)
        rows = ",\n".join(row.model_dump_json() for row in self.rows)
        return f'{head},\n "summaries": [\n{summaries}\n ],\n "rows": [\n{rows}\n ]\n}}\n'


def identify(protocol: Protocol, model: ModelFacts) -> Identity:
    """Return what decides the figures of a protocol."""
    return Identity(
        protocol=protocol.name,
        version=protocol.version,
        settings=json.loads(json.dumps(dict(protocol.settings()))),
        model=model,
        data_hash=protocol.data_hash,
        libraries=_libraries(),
    )


def _libraries() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def model_facts(model: str | Path) -> ModelFacts:
    """Say which model a name or a folder is.

    Args:
        model: name of a bundled model, or the weights folder of a model or of a detector.

    Raises:
        WeightsError: there is none, or it is damaged.
    """
    folder = bundled_models().get(str(model), Path(model))
    config, _, digest = read_folder(folder)
    name = config.get("name") if isinstance(config, dict) else None
    return ModelFacts(name=str(name or folder.resolve().name), hash=digest)


def read_results(path: Path) -> Results:
    """Read what ``Results.to_json`` wrote.

    Raises:
        DataError: the file is missing, damaged or of another version of querysep.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw["summaries"] = [revive(summary) for summary in raw["summaries"]]
        raw["rows"] = [revive(row) for row in raw["rows"]]
        return Results.model_validate(raw)
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}. Run `querysep evaluate` to make it.") from error
    except ValidationError as error:
        raise DataError(f"'{path}' holds no results: {first_problem(error)}. Run `querysep evaluate` again.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"'{path}' holds no results of this version. Run `querysep evaluate` again.") from error


def revive(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row or a summary out of JSON with NaN where it has null."""
    revived = dict(item)
    revived["values"] = {name: _figure(value) for name, value in item["values"].items()}
    if "intervals" in item:
        revived["intervals"] = {name: tuple(_figure(end) for end in ends) for name, ends in item["intervals"].items()}
    return revived


def _figure(value: Any) -> Any:
    return math.nan if value is None else value
