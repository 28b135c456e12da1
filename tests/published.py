"""The published networks as numbers: recipe, inputs and expected outputs (see golden/parity/README.md)."""

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

FOLDER = Path(__file__).parent / "golden" / "parity"
TOLERANCE = 1e-4  # of each output's largest value


@functools.cache
def manifest() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FOLDER / "manifest.json").read_text())
    return content


@functools.cache
def _arrays(name: str) -> dict[str, NDArray[Any]]:
    with np.load(FOLDER / name) as file:
        return {key: file[key] for key in file.files}


def given(name: str) -> NDArray[Any]:
    return _arrays("inputs.npz")[name]


def expected(name: str) -> NDArray[Any]:
    return _arrays("expected.npz")[name]


def tensor(entry: dict[str, Any]) -> Tensor:
    """Fill one tensor by the manifest's recipe; what a network computes itself gets its shape in zeros."""
    if entry["rule"] == "keep":
        return torch.zeros(entry["shape"], dtype=getattr(torch, entry["dtype"]))
    noise = np.random.Generator(np.random.PCG64(entry["seed"])).standard_normal(entry["shape"], dtype=np.float32)
    if entry["rule"] == "absaffine":
        noise = np.abs(noise)
    return torch.from_numpy(noise * np.float32(entry["s"]) + np.float32(entry["m"]))


def checkpoint(part: str) -> dict[str, Tensor]:
    """The state dictionary of ``sed`` or ``separator`` in the authors' layout."""
    return {entry["name"]: tensor(entry) for entry in manifest()[part]["entries"]}


def assert_agrees(actual: Any, name: str) -> None:
    """Fail where ``actual`` is further than the tolerance from the expected output ``name``."""
    wanted = np.asarray(expected(name), dtype=np.float64)
    got = np.asarray(actual, dtype=np.float64)
    assert got.shape == wanted.shape, f"{name}: shape {got.shape}, want {wanted.shape}"
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error <= TOLERANCE, f"{name}: relative error {error:.2e}"
