"""The label bank of a weights folder: for every class that can be asked for by name, its condition."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from querysep.errors import WeightsError

BANK_NAME = "labels.safetensors"
_FACTS, _CONDITIONS, _PROFILES = "querysep-labels", "conditions", "profiles"


class BankRow(BaseModel):
    """A class of the bank."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    label: str = Field(min_length=1)
    examples: int = Field(gt=0, description="recordings that its condition is the mean of")
    ancestors: tuple[str, ...] = Field(default=(), description="classes that it is a kind of, nearest first")
    is_labeled: bool = Field(True, description="false: no recording carries the label; the detector hears it in them")


class _Facts(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    rows: tuple[BankRow, ...]


@dataclass(frozen=True)
class LabelBank:
    """Conditions by class.

    Attributes:
        rows: the classes.
        conditions: shape (row, condition_dim), float32.
        profiles: what the detector hears in examples of the class, probabilities, shape (row, class), float32.
    """

    rows: tuple[BankRow, ...]
    conditions: Tensor
    profiles: Tensor

    @property
    def hash(self) -> str:
        """Tells banks apart: 16 hexadecimal digits."""
        # what older files do not have is left out where it says nothing
        said = {place: {"is_labeled"} for place, row in enumerate(self.rows) if row.is_labeled}
        digest = hashlib.sha256(_Facts(rows=self.rows).model_dump_json(exclude={"rows": said}).encode())
        for tensor in (self.conditions, self.profiles):
            digest.update(tensor.float().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def to_bytes(self) -> bytes:
        """Return what the file holds."""
        facts = _Facts(rows=self.rows).model_dump(mode="json")
        tensors = {_CONDITIONS: self.conditions.contiguous(), _PROFILES: self.profiles.contiguous()}
        content: bytes = save(tensors, {_FACTS: json.dumps(facts, ensure_ascii=False)})
        return content


def read_label_bank(folder: Path, condition_dim: int, classes: int) -> LabelBank | None:
    """Read the label bank of a weights folder.

    Args:
        folder: of the weights.
        condition_dim: values of the model's conditions.
        classes: of the model's detector.

    Returns:
        None where the folder has none.

    Raises:
        WeightsError: damaged, or of another model.
    """
    path = folder / BANK_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            rows = _Facts.model_validate_json((file.metadata() or {}).get(_FACTS, "")).rows
            conditions, profiles = file.get_tensor(_CONDITIONS), file.get_tensor(_PROFILES)
    except (SafetensorError, OSError, ValidationError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"'{path}' is damaged ({reason}). Copy the model again, or build its labels anew."
        ) from error
    wanted = (len(rows), condition_dim), (len(rows), classes)
    if (tuple(conditions.shape), tuple(profiles.shape)) != wanted:
        raise WeightsError(
            f"'{path}' is of another model: conditions {tuple(conditions.shape)} and profiles {tuple(profiles.shape)}, "
            f"want {wanted[0]} and {wanted[1]}. Build it anew with `querysep labels --build`."
        )
    return LabelBank(rows, conditions.to(torch.float32), profiles.to(torch.float32))
