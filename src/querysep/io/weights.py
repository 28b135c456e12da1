"""Weights folders: ``config.json``, ``model.safetensors`` and a model card, read strictly and written whole."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from querysep.errors import OutputError, QuerysepError, WeightsError

CONFIG_NAME = "config.json"
TENSORS_NAME = "model.safetensors"
CARD_NAME = "README.md"


@dataclass(frozen=True)
class Mismatch:
    """What does not fit between the tensors of a file and those of a network, by name."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    misshapen: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.misshapen)

    def describe(self) -> str:
        """Return one line that names every tensor."""
        parts = (("missing", self.missing), ("extra", self.extra), ("of the wrong shape", self.misshapen))
        return "; ".join(f"{len(names)} {what}: {', '.join(names)}" for what, names in parts if names)


def compare(network: nn.Module, tensors: Mapping[str, Tensor]) -> Mismatch:
    """Tell which tensors of ``network`` are missing, extra or misshapen in ``tensors``."""
    wanted = network.state_dict()
    misshapen = tuple(
        f"{name} (got {tuple(tensors[name].shape)}, want {tuple(tensor.shape)})"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    )
    return Mismatch(
        missing=tuple(name for name in wanted if name not in tensors),
        extra=tuple(name for name in tensors if name not in wanted),
        misshapen=misshapen,
    )


def fill(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Load tensors strictly.

    Raises:
        WeightsError: names every tensor that is missing, extra or misshapen.
    """
    mismatch = compare(network, tensors)
    if mismatch:
        raise WeightsError(f"The tensors in {where} do not fit the network: {mismatch.describe()}.")
    network.load_state_dict(dict(tensors), strict=True)


def read_folder(folder: Path) -> tuple[Any, dict[str, Tensor], str]:
    """Read a weights folder.

    Returns:
        The parsed config, the tensors (float32 where they were stored as float16), and a short content hash.

    Raises:
        WeightsError: the folder or one of its files is missing or damaged, or a tensor has values that are not finite.
    """
    if not folder.is_dir():
        raise WeightsError(f"There is no weights folder at '{folder}'. See `querysep models` for what is bundled.")
    for name in (CONFIG_NAME, TENSORS_NAME):
        if not (folder / name).is_file():
            raise WeightsError(f"The weights folder '{folder}' has no {name}. Copy or import the model again.")
    try:
        config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"'{folder / CONFIG_NAME}' is not valid JSON ({error}). Copy the model again.") from error
    try:
        tensors = load_file(folder / TENSORS_NAME)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"'{folder / TENSORS_NAME}' is damaged or incomplete ({error}). Copy the model again."
        ) from error
    _refuse_infinite(tensors, WeightsError, "Cannot use the weights folder", folder)
    widened = {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()}
    return config, widened, content_hash(folder)


def _halved(tensor: Tensor) -> Tensor:
    """Return the tensor as float16, unless a value would become infinite, as large variances of a BatchNorm do."""
    narrow = tensor.half()
    return narrow if torch.isfinite(narrow).all() else tensor


def _refuse_infinite(tensors: Mapping[str, Tensor], error: type[QuerysepError], what: str, folder: Path) -> None:
    broken = [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise error(
            f"{what} '{folder}': {len(broken)} of {len(tensors)} tensors have values that are not finite "
            f"('{broken[0]}' is the first). Train again from weights that are whole."
        )


def content_hash(folder: Path) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 over config and tensors."""
    digest = hashlib.sha256()
    for name in (CONFIG_NAME, TENSORS_NAME):
        with (folder / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def write_folder(
    folder: Path,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    card: str,
    half: bool = False,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Write a weights folder; it appears whole or not at all.

    Args:
        folder: must not exist, or be empty.
        config: what goes to config.json.
        tensors: what goes to model.safetensors.
        card: text of the model card.
        half: store floating-point tensors as float16; those with a value that float16 cannot hold stay as they are.
        beside: content of more files, by name.

    Raises:
        OutputError: the folder holds something, or cannot be written, or a tensor has values that are not finite.
    """
    _refuse_infinite(tensors, OutputError, "Nothing was written to", folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"'{folder}' exists already. Choose a new folder, or remove this one first.")
    stored = {
        name: (_halved(tensor) if half and tensor.is_floating_point() else tensor).contiguous().clone()
        for name, tensor in tensors.items()
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise OutputError(f"Cannot write to '{folder.parent}': {error.strerror}. Choose another folder.") from error
    try:
        save_file(stored, temporary / TENSORS_NAME)
        (temporary / CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        (temporary / CARD_NAME).write_text(card, encoding="utf-8")
        for name, content in (beside or {}).items():
            (temporary / name).write_bytes(content)
        (temporary / TENSORS_NAME).chmod(0o644)  # safetensors makes it readable for its owner alone
        temporary.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        temporary.replace(folder)
    except (OSError, SafetensorError) as error:
        raise OutputError(f"Could not write the weights folder '{folder}': {error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
