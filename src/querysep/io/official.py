"""Checkpoints in the layout of the authors' code: names and tensors, without running anything from the file."""

import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from querysep.errors import WeightsError

# What the published networks store but compute from constants: transforms, filter banks, index tables, masks.
_COMPUTED = re.compile(
    r"(^|\.)(stft|istft|spectrogram_extractor|logmel_extractor)\.|relative_position_index$|attn_mask$"
)
_UNUSED = re.compile(r"^head\.(weight|bias)$")  # a linear layer that the published detector never applies
_DETECTOR_PREFIXES = ("at_model.sed_model.", "sed_model.")
_SEPARATOR_NAMES = (
    (re.compile(r"^encoder_block(\d+)\.conv_block\."), "encoder"),
    (re.compile(r"^decoder_block(\d+)\."), "decoder"),
)
_SEPARATOR_PREFIXES = (
    ("conv_block7.", "bottom."),
    ("after_conv_block1.", "after_block."),
    ("after_conv2.", "after_conv."),
)


@dataclass(frozen=True)
class OfficialTensors:
    """Tensors of one checkpoint under our names.

    Attributes:
        detector: of the detector, empty if the file holds none.
        separator: of the separator, empty if the file holds none.
        computed: names in the file that we compute ourselves and therefore ignore.
    """

    detector: dict[str, Tensor]
    separator: dict[str, Tensor]
    computed: tuple[str, ...]


def read_official(path: Path) -> OfficialTensors:
    """Read a Lightning checkpoint, or a bare state dictionary, in the authors' layout.

    Args:
        path: the ``.ckpt`` file; it is read with ``weights_only=True``.

    Returns:
        The tensors, floating point for parameters and statistics, renamed.

    Raises:
        WeightsError: no such file, not a checkpoint, or one that wants to run code.
    """
    if not path.is_file():
        raise WeightsError(f"There is no checkpoint file at '{path}'. Give the path of a .ckpt file.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise WeightsError(
            f"'{path}' is not a checkpoint that can be read without running code from it ({reason}). "
            "Take the authors' original file, or save its state_dict alone with torch.save."
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not any(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"'{path}' holds no state_dict with tensors. Give a checkpoint of the authors' code.")
    return sort_tensors({str(name): value for name, value in state.items() if isinstance(value, Tensor)})


def sort_tensors(state: dict[str, Tensor]) -> OfficialTensors:
    """Tell detector, separator and computed tensors of a state dictionary apart, and rename them to ours."""
    detector: dict[str, Tensor] = {}
    separator: dict[str, Tensor] = {}
    computed: list[str] = []
    for name, tensor in state.items():
        prefix = next((p for p in _DETECTOR_PREFIXES if name.startswith(p)), "")
        bare = name[len(prefix) :]
        if _COMPUTED.search(bare) or (prefix and _UNUSED.match(bare)):
            computed.append(name)
        elif prefix:
            detector[bare] = _as_stored(bare, tensor)
        else:
            separator[separator_name(bare)] = _as_stored(bare, tensor)
    return OfficialTensors(detector, separator, tuple(computed))


def separator_name(name: str) -> str:
    """Return our name for a tensor of the published separator; an unknown name comes back unchanged."""
    for pattern, ours in _SEPARATOR_NAMES:
        if match := pattern.match(name):
            return f"{ours}.{int(match.group(1)) - 1}.{name[match.end() :]}"
    for theirs, replacement in _SEPARATOR_PREFIXES:
        if name.startswith(theirs):
            return replacement + name[len(theirs) :]
    return name


def _as_stored(name: str, tensor: Tensor) -> Tensor:
    """Return counters as integers (weight averages store them as floats) and everything else as float32."""
    if name.endswith("num_batches_tracked"):
        return tensor.round().long()
    return tensor.float()
