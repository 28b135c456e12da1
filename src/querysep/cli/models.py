"""``querysep models`` and ``querysep labels``: what is there to ask, and what can be asked for."""

import math
from pathlib import Path

import typer

from querysep.cli.options import ModelOption
from querysep.cli.terminal import print_table


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(models)
    app.command()(labels)


def models() -> None:
    """List the bundled models: name, size of the file, parameters, licence of the weights."""
    from querysep.io.weights import TENSORS_NAME
    from querysep.model import bundled_models, load_model

    rows = []
    for name, folder in bundled_models().items():
        weights = folder / TENSORS_NAME
        licence = load_model(folder, "cpu").config.licence
        rows.append((name, f"{weights.stat().st_size / 1e6:.1f} MB", f"{_parameters(weights) / 1e6:.2f} M", licence))
    print_table(("name", "size", "parameters", "licence"), rows, right=(1, 2))


def labels(model: ModelOption = "default") -> None:
    """List the classes that a model's detector knows, one a line."""
    from querysep.model import load_model

    for label in sorted(load_model(model, "cpu").labels, key=str.casefold):
        typer.echo(label)


def _parameters(weights: Path) -> int:
    """Count trained values in a weights file; running statistics are not among them."""
    from safetensors import safe_open

    with safe_open(weights, framework="numpy") as file:
        trained = [name for name in file.keys() if "running_" not in name and "num_batches" not in name]  # noqa: SIM118
        return sum(math.prod(file.get_slice(name).get_shape()) for name in trained)
