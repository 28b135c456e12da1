"""The text file of a weights folder: phrases for the classes of its label bank, as vectors of a text encoder."""

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from querysep.errors import WeightsError

TEXT_NAME = "text.safetensors"
_FACTS, _PHRASES, _OWNERS, _PROBE = "querysep-text", "phrases", "owners", "probe"


class TextFacts(BaseModel):
    """How words are understood, and for which label bank."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    encoder: str = Field(min_length=1, description="name of the text encoder")
    bank: str = Field(min_length=1, description="hash of the label bank that it was made for")
    others: tuple[str, ...] = Field(description="classes that the bank does not have")
    phrase_temperature: float = Field(gt=0, description="how much the nearest phrases of a class outweigh its others")
    class_temperature: float = Field(gt=0, description="how much the nearest classes outweigh the others")
    far: float = Field(description="cosine to the nearest phrase under which words are far from every class")


@dataclass(frozen=True)
class TextMap:
    """Phrases and the classes that own them.

    Attributes:
        facts: how words are understood.
        phrases: shape (phrase, text_dim), of length 1, float32.
        owners: shape (phrase,): rows of the label bank, and beyond its last the classes that it does not have.
        probe: what the encoder made of a fixed sentence, shape (text_dim,): another encoder makes something else of it.
    """

    facts: TextFacts
    phrases: Tensor
    owners: Tensor
    probe: Tensor

    def to_bytes(self) -> bytes:
        """Return what the file holds; the phrases as float16."""
        tensors = {_PHRASES: self.phrases.half().contiguous(), _OWNERS: self.owners, _PROBE: self.probe}
        content: bytes = save(tensors, {_FACTS: self.facts.model_dump_json()})
        return content


def read_text_map(folder: Path) -> TextMap | None:
    """Read the text file of a weights folder; None where it has none.

    Raises:
        WeightsError: damaged.
    """
    path = folder / TEXT_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            facts = TextFacts.model_validate(json.loads((file.metadata() or {}).get(_FACTS, "")))
            phrases, owners, probe = (file.get_tensor(name) for name in (_PHRASES, _OWNERS, _PROBE))
        if phrases.ndim != 2 or owners.shape != phrases.shape[:1] or probe.shape != phrases.shape[1:]:
            raise ValueError(f"{tuple(phrases.shape)} phrases with {tuple(owners.shape)} owners")
    except (SafetensorError, OSError, ValidationError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(
            f"'{path}' is damaged ({reason}). Copy the model again, or run `querysep labels --text`."
        ) from error
    return TextMap(facts, phrases.float(), owners.long(), probe.float())
