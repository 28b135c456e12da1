"""A run folder that knows itself: ``run.yaml`` says what is trained there, on what and with which settings."""

import difflib
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

import querysep
from querysep.errors import ConfigError, OutputError
from querysep.io.files import atomic_text, output_error
from querysep.model import first_problem, parse_yaml
from querysep.training.batches import Crowd
from querysep.training.config import TrainingConfig

RUN_NAME = "run.yaml"
FREE = frozenset(
    {"steps", "minutes", "patience", "workers", "device", "checkpoint_steps", "checkpoint_minutes", "validation_steps"}
)
"""Settings that may be others when a run goes on: how long it is, and what it runs on."""

SettingsT = TypeVar("SettingsT", bound=TrainingConfig)


def _commit() -> str | None:
    """Return the commit of the checkout that querysep runs from, with "-dirty" where files differ from it."""
    checkout = Path(querysep.__file__).parents[2]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10.0)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return ended.stdout.strip() or None


class Source(BaseModel):
    """Something that a run was made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    location: str = Field(default="", description="where it lay; empty where nobody said")
    hash: str = Field(default="", description="of its content")


class RunRecord(BaseModel):
    """What ``run.yaml`` holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: Literal["detector", "separator"]
    version: str = Field(default_factory=lambda: version("querysep"), description="of querysep")
    commit: str | None = Field(default_factory=_commit, description="of querysep's checkout, if it is one")
    started: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"), description="time")
    preset: str = Field(default="", description="name of the network's shape, or the file it was read from")
    network: dict[str, Any] = Field(description="shape of the network")
    settings: dict[str, Any] = Field(description="of the training, all of them")
    data: Source
    detector: Source | None = Field(default=None, description="the one that a separator is trained for")
    start: Source | None = Field(default=None, description="weights that it began from")
    model: dict[str, str] = Field(default_factory=dict, description="name, license and recordings, for the model card")
    processes: int = Field(default_factory=lambda: Crowd.here().size)
    threads: int = Field(default_factory=torch.get_num_threads, description="of each process")
    finished_step: int | None = Field(default=None, description="that the weights were written after")
    history: tuple[dict[str, Any], ...] = Field(default=(), description="what was changed when the run went on")


@dataclass(frozen=True)
class RunRequest:
    """What a training cannot see in its arguments: where they came from, and whether they may be others than before.

    Attributes:
        preset: name of the network's shape.
        data: where the data lies.
        detector: where the detector lies.
        start: where the weights to begin from lie.
        change: whether a run may go on with other settings, data or detector.
    """

    preset: str = ""
    data: str = ""
    detector: str = ""
    start: str = ""
    change: bool = False


def content_hash(lines: Iterable[str]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 over lines, which tell what is trained on."""
    digest = sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()[:16]


def read_run(folder: Path, command: str | None = None) -> RunRecord | None:
    """Return what a run folder says of itself; None where there is no run.

    Args:
        folder: of the run.
        command: that the run is of, "detector" or "separator"; None: any.

    Raises:
        ConfigError: its ``run.yaml`` is damaged, of another version or of another command.
    """
    path = folder / RUN_NAME
    if not path.is_file():
        return None
    try:
        record = RunRecord.model_validate(parse_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"'{path}' does not describe a run: {first_problem(error)}. Give another folder.") from error
    if command not in (None, record.command):
        raise ConfigError(f"The run in '{folder}' is one of `querysep train {record.command}`. Give another folder.")
    return record


def begin_run(folder: Path, asked: RunRecord, output: Path, *, change: bool) -> None:
    """Write ``run.yaml``, or see that the run that is there is the one that is asked for.

    Args:
        folder: of the run.
        asked: what is to be trained now.
        output: where the run writes its weights at the end.
        change: whether other settings, data or another detector are accepted.

    Raises:
        OutputError: ``output`` is there and not of this run, or the folder cannot be written.
        ConfigError: the run that is there was begun with something else.
    """
    stored = read_run(folder, asked.command)
    if stored is None:
        if output.exists() and (not output.is_dir() or any(output.iterdir())):
            raise OutputError(
                f"'{output}' exists already and is not of a run: '{folder}' has no {RUN_NAME}. Give another folder, or "
                "remove it first."
            )
        _write(folder, asked)
        return
    changes = _differences(stored, asked)
    fixed = {name: both for name, both in changes.items() if name == "network"}
    guarded = {name: both for name, both in changes.items() if name not in FREE}
    if fixed:
        raise ConfigError(f"The run in '{folder}' is another one: {_in_words(fixed)}. Give another folder.")
    if guarded and not change:
        raise ConfigError(
            f"The run in '{folder}' was begun with something else: {_in_words(guarded)}. Leave that out to go on as it "
            "was begun, give another folder, or add --change to go on with what is asked now."
        )
    if "data" in guarded and Crowd.here().rank == 0:
        (folder / "best.pt").unlink(missing_ok=True)  # its figure is of other recordings
    entry = {"time": asked.started, "version": asked.version, "commit": asked.commit, "changed": changes}
    noted = {
        "started": stored.started,
        "finished_step": stored.finished_step,
        "history": (*stored.history, entry) if changes else stored.history,
    }
    _write(folder, asked.model_copy(update=noted))


def finish_run(folder: Path, step: int) -> None:
    """Note that the weights after a step were written."""
    stored = read_run(folder)
    if stored is not None:
        _write(folder, stored.model_copy(update={"finished_step": step}))


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; it takes the place of ``folder`` when the block ends well.

    Raises:
        OutputError: it cannot be written.
    """
    new, old = (folder.with_name(f".{folder.name}.{what}") for what in ("new", "old"))
    try:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        try:
            yield new
            if folder.exists():
                folder.rename(old)
            new.rename(folder)
        except OSError as error:
            raise output_error(folder, error) from error
    finally:
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)


def settings_of(
    kind: type[SettingsT], stored: RunRecord | None, config: Mapping[str, Any], given: Mapping[str, Any]
) -> SettingsT:
    """Return the settings of a training: defaults, then those of the run that goes on, of a file, and given ones.

    Raises:
        ConfigError: one is unknown or wrong.
    """
    values = {**(stored.settings if stored is not None else {}), **config, **given}
    known = tuple(kind.model_fields)
    for name in values:
        if name not in known:
            raise ConfigError(f"{_unknown('setting', name, known)} Known settings: {', '.join(known)}.")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"A training setting is wrong: {first_problem(error)}.") from error


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the preset and the settings that a YAML file asks for: a ``run.yaml``, or one with these two keys.

    Raises:
        ConfigError: it cannot be read, or has a key that is unknown.
    """
    if not path.is_file():
        raise ConfigError(f"There is no file '{path}'. Give the {RUN_NAME} of a run, or a file with 'settings:'.")
    raw = parse_yaml(path)
    if not isinstance(raw, dict):
        raise ConfigError(f"'{path}' holds no settings. Write 'settings:' and below it a line for each.")
    for name in raw:
        if name not in RunRecord.model_fields:
            raise ConfigError(f"{_unknown('key', str(name), tuple(RunRecord.model_fields))} It is in '{path}'.")
    settings = raw.get("settings") or {}
    if not isinstance(settings, dict):
        raise ConfigError(f"'settings' in '{path}' is no list of names with values.")
    return str(raw.get("preset") or ""), settings


def _unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"'{name}' is not a known {what}." + (f" Closest: '{near[0]}'." if near else "")


def _differences(stored: RunRecord, asked: RunRecord) -> dict[str, list[Any]]:
    """Return what is not as it was: the name, and both values."""
    old: dict[str, Any] = dict(stored.settings)
    new = {name: value for name, value in asked.settings.items() if name in old}  # a newer version has more settings
    for name in ("data", "detector", "start"):
        before, after = getattr(stored, name), getattr(asked, name)
        old[name], new[name] = (source.hash if source is not None else None for source in (before, after))
    old["network"], new["network"] = _parts_that_differ(stored.network, asked.network)
    return {name: [old[name], new.get(name)] for name in old if old[name] != new.get(name)}


def _parts_that_differ(old: dict[str, Any], new: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return {name: old.get(name) for name in names}, {name: new.get(name) for name in names}


def _in_words(changes: Mapping[str, list[Any]]) -> str:
    return "; ".join(f"{name} was {old}, now {new}" for name, (old, new) in changes.items())


def _write(folder: Path, record: RunRecord) -> None:
    if Crowd.here().rank:
        return  # the first process writes it
    text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder / RUN_NAME, error) from error
    atomic_text(folder / RUN_NAME, text)
