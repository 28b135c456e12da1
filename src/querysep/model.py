"""A model: a detector, a separator, the names of the classes, and where they come from."""

import json
import re
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from torch import Tensor

from querysep.detection.build import build_detector
from querysep.detection.config import DetectorConfig
from querysep.detection.identity import detector_hash
from querysep.detection.network import DetectorNetwork
from querysep.errors import ConfigError, DeviceError, WeightsError
from querysep.io.event_calibration import EVENTS_NAME, EventCalibration, read_events
from querysep.io.label_bank import BANK_NAME, LabelBank, read_label_bank
from querysep.io.presence_calibration import PresenceCalibration, read_presence
from querysep.io.text_map import TextMap, read_text_map
from querysep.io.weights import CONFIG_NAME, fill, read_folder, write_folder
from querysep.separation.build import build_separator
from querysep.separation.config import SeparatorConfig
from querysep.separation.network import SeparatorNetwork


class ModelShape(BaseModel):
    """Shapes of the two networks: what a preset file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    detector: DetectorConfig
    separator: SeparatorConfig

    @model_validator(mode="after")
    def _agree(self) -> "ModelShape":
        if self.separator.condition_dim != self.detector.latent_dim:
            raise ValueError(
                f"the separator's condition_dim ({self.separator.condition_dim}) must be the detector's latent "
                f"dimension ({self.detector.latent_dim})"
            )
        if self.separator.sample_rate != self.detector.sample_rate:
            raise ValueError("detector and separator must have the same sample_rate")
        return self


class ModelConfig(BaseModel):
    """What ``config.json`` of a weights folder holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = Field(default="querysep-model", pattern="^querysep-model$")
    format_version: int = Field(default=1, ge=1, le=1)
    name: str = Field(min_length=1)
    licence: str = Field(description="of the weights")
    trained_on: str = Field(description="recordings and command, in a sentence")
    labels: tuple[str, ...] = Field(description="names of the detector's classes, in order")
    shape: ModelShape

    @model_validator(mode="after")
    def _count(self) -> "ModelConfig":
        if len(self.labels) != self.shape.detector.classes:
            raise ValueError(f"{len(self.labels)} labels for {self.shape.detector.classes} classes")
        return self


class DetectorModelConfig(BaseModel):
    """What ``config.json`` of a detector's own weights folder holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: str = Field(default="querysep-detector", pattern="^querysep-detector$")
    labels: tuple[str, ...] = Field(description="names of the classes, in order")
    detector: DetectorConfig


@dataclass(frozen=True)
class TrainedDetector:
    """A detector alone: what mining and the separator's training need.

    Attributes:
        network: in eval mode, on the CPU.
        labels: names of its classes, in order.
        events: from which probability on each class counts; None where the folder has no calibration for this detector.
    """

    network: DetectorNetwork
    labels: tuple[str, ...]
    events: EventCalibration | None = None

    @property
    def hash(self) -> str:
        """Over its shape and weights: the same whether it lies in a folder of its own or in a model's."""
        return detector_hash(self.network)


@dataclass(frozen=True)
class Model:
    """Two networks in eval mode on one device, ready to run.

    Attributes:
        config: what they are.
        hash: content hash of config and weights.
        detector: turns sound into conditions.
        separator: takes a mixture and a condition.
        device: where both are.
        label_bank: the classes that can be asked for by name; None where the folder has none.
        presence: how surely a queried sound is there; None where the folder has no calibration for these weights.
        text_map: what words mean; None where the folder has none.
        events: from which probability on each class counts; None where the folder has no calibration for this detector.
    """

    config: ModelConfig
    hash: str
    detector: DetectorNetwork
    separator: SeparatorNetwork
    device: torch.device
    label_bank: LabelBank | None = None
    presence: PresenceCalibration | None = None
    text_map: TextMap | None = None
    events: EventCalibration | None = None

    @property
    def name(self) -> str:
        """The name in its config."""
        return self.config.name

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the detector's classes, in order."""
        return self.config.labels


def bundled_models() -> dict[str, Path]:
    """Return the weights folders that the package carries, by name."""
    root = Path(str(resources.files("querysep"))) / "assets" / "models"
    return {folder.name: folder for folder in sorted(root.glob("*")) if (folder / "config.json").is_file()}


def load_preset(name: str) -> ModelShape:
    """Return the shape of a preset: ``paper``, ``default`` or the path of a YAML file.

    Raises:
        ConfigError: no such preset, or a field is unknown or wrong.
    """
    root = Path(str(resources.files("querysep"))) / "assets" / "presets"
    path = Path(name) if name.endswith((".yaml", ".yml")) else root / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in root.glob("*.yaml")))
        raise ConfigError(f"There is no preset '{name}'. Known: {known}; or give the path of a YAML file.")
    try:
        return ModelShape.model_validate(parse_yaml(path))
    except ValidationError as error:
        raise ConfigError(f"The preset '{path}' is wrong: {first_problem(error)}.") from error


def parse_yaml(path: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        ConfigError: it is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{path}' is not valid YAML: {' '.join(str(error).split())}.") from error


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``mps``; auto takes the fastest there is.

    Raises:
        DeviceError: unknown, or not there.
    """
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    match name:
        case "auto":
            return torch.device("cuda" if cuda else "mps" if mps else "cpu")
        case "cpu":
            return torch.device("cpu")
        case "cuda" if cuda:
            return torch.device("cuda")
        case "mps" if mps:
            return torch.device("mps")
        case "cuda" | "mps":
            raise DeviceError(f"The device '{name}' is not available to PyTorch {torch.__version__}. Use --device cpu.")
        case _:
            raise DeviceError(f"'{name}' is not a device. Choose auto, cpu, cuda or mps.")


def load_model(name: str | Path = "default", device: str = "auto") -> Model:
    """Load a model: the name of a bundled one, or a weights folder.

    Raises:
        WeightsError: unknown name, or a folder that is missing, damaged or does not fit.
        DeviceError: the device is not there.
    """
    target = choose_device(device)
    bundled = bundled_models()
    folder = bundled.get(str(name), Path(name))
    if not folder.is_dir():
        raise WeightsError(
            f"'{name}' is neither a bundled model ({', '.join(bundled) or 'none'}) nor a weights folder. "
            "See `querysep models`."
        )
    raw, tensors, digest = read_folder(folder)
    try:
        config = ModelConfig.model_validate(raw)
    except ValidationError as error:
        raise WeightsError(f"'{folder / 'config.json'}' does not describe a model: {first_problem(error)}.") from error
    detector, separator = build_detector(config.shape.detector), build_separator(config.shape.separator)
    fill(_Pair(detector, separator), tensors, f"'{folder / 'model.safetensors'}'")
    bank = read_label_bank(folder, config.shape.separator.condition_dim, config.shape.detector.classes)
    presence = read_presence(folder, digest, config.shape.detector.latent_dim)
    text_map = read_text_map(folder)
    events = _events_for(folder, TrainedDetector(detector, config.labels))
    networks = detector.to(target).eval(), separator.to(target).eval()
    return Model(config, digest, *networks, target, bank, presence, text_map, events)


def load_detector(folder: Path) -> TrainedDetector:
    """Load a detector from its own weights folder, as ``train detector`` writes it, or from a whole model's.

    Raises:
        WeightsError: the folder is missing, damaged or does not fit.
    """
    folder = bundled_models().get(str(folder), folder)
    raw, tensors, _ = read_folder(folder)
    if isinstance(raw, dict) and raw.get("format") == "querysep-model":
        model = load_model(folder, "cpu")
        return TrainedDetector(model.detector, model.labels, model.events)
    try:
        config = DetectorModelConfig.model_validate(raw)
    except ValidationError as error:
        raise WeightsError(
            f"'{folder / 'config.json'}' does not describe a detector: {first_problem(error)}."
        ) from error
    network = build_detector(config.detector)
    fill(network, tensors, f"'{folder / 'model.safetensors'}'")
    trained = TrainedDetector(network.eval(), config.labels)
    return replace(trained, events=_events_for(folder, trained))


def _events_for(folder: Path, detector: TrainedDetector) -> EventCalibration | None:
    """Return the event calibration of a folder, unless it is of another detector or of other classes."""
    found = read_events(folder)
    if found is None or not set(found.classes).issubset(detector.labels) or found.detector_hash != detector.hash:
        return None
    return found


def holds_detector(folder: Path) -> bool:
    """Say whether a weights folder holds a detector alone; a folder that is missing or damaged does not."""
    try:
        raw = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(raw, dict) and raw.get("format") == "querysep-detector"


def save_detector(folder: Path, network: DetectorNetwork, labels: tuple[str, ...]) -> None:
    """Write a detector's own weights folder, in float16 as a model's is, so that it is the same detector in both.

    Raises:
        OutputError: the folder holds something, or cannot be written.
    """
    config = DetectorModelConfig(labels=labels, detector=network.config)
    card = "# A detector\n\nWritten by `querysep train detector`, for `querysep mine` and `querysep train separator`.\n"
    write_folder(folder, config.model_dump(mode="json"), network.state_dict(), card, half=True)


def save_model(
    folder: Path,
    config: ModelConfig,
    detector: DetectorNetwork,
    separator: SeparatorNetwork,
    card: str,
    half: bool = False,
    label_bank: LabelBank | None = None,
    events: EventCalibration | None = None,
) -> None:
    """Write a weights folder, with a label bank and the detector's event calibration if there are any.

    Raises:
        OutputError: the folder holds something, or cannot be written.
    """
    beside = {BANK_NAME: label_bank.to_bytes()} if label_bank is not None and label_bank.rows else {}
    if events is not None:
        beside[EVENTS_NAME] = events.to_json().encode()
    write_folder(folder, config.model_dump(mode="json"), pair_tensors(detector, separator), card, half, beside)


def pair_tensors(detector: DetectorNetwork, separator: SeparatorNetwork) -> dict[str, Tensor]:
    """Return the tensors of both networks under the names of a weights folder."""
    return {name: tensor.detach().cpu() for name, tensor in _Pair(detector, separator).state_dict().items()}


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a validation in a few words: the field, what is wrong with it."""
    problem = error.errors()[0]
    where = ".".join(str(part) for part in problem["loc"]) or "as a whole"
    return re.sub(r"\s+", " ", f"{where}: {problem['msg']}")


class _Pair(torch.nn.Module):
    """Gives the tensors of both networks their names in the file."""

    def __init__(self, detector: DetectorNetwork, separator: SeparatorNetwork) -> None:
        super().__init__()
        self.detector = detector
        self.separator = separator
