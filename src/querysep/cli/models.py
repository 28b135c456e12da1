"""``querysep models`` and ``querysep labels``: what is there to ask, and what can be asked for."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from querysep.cli.options import ModelOption, Quiet
from querysep.cli.terminal import print_table, progress_bar, warn

if TYPE_CHECKING:
    from querysep.io.label_bank import LabelBank
    from querysep.model import Model


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


def labels(
    model: ModelOption = "default",
    build: Annotated[
        Path | None,
        typer.Option(
            help="Make the model's labels anew from this anchor catalog, mined by its own detector.", metavar="ANCHORS"
        ),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Make anew what the model understands by words (text:WORDS).")
    ] = False,
    encoder: Annotated[
        str, typer.Option(help="What turns words into vectors: minilm, or one that a package adds.", metavar="NAME")
    ] = "minilm",
    quiet: Quiet = False,
) -> None:
    """List what can be asked for as label:NAME: classes with examples of their own, then parents of several.

    ~ stands before the number of examples where no recording is labeled with the class: the detector hears it in them.
    """
    from querysep.io.files import check_folder
    from querysep.model import bundled_models, load_model

    loaded = load_model(model, "cpu")
    folder = bundled_models().get(model, Path(model))
    if build is not None or text:
        check_folder(folder)
    bank = loaded.label_bank
    if build is not None:
        bank = _build(build, loaded, folder, quiet)
    if text:
        typer.echo(_make_text(bank, folder, encoder))
        return
    if bank is None:
        for label in sorted(loaded.labels, key=str.casefold):
            typer.echo(label)
        warn(["These classes can be detected; to ask for them by name, add labels with --build."], quiet=quiet)
        return
    print_table(("label", "examples", "classes", "is a"), _label_rows(bank), right=(1, 2))


def _build(anchors: Path, model: "Model", folder: Path, quiet: bool) -> "LabelBank":
    from querysep.anchors.catalog import read_catalog
    from querysep.anchors.label_bank import check_mined_by, label_bank
    from querysep.errors import DataError
    from querysep.io.files import atomic_bytes
    from querysep.io.label_bank import BANK_NAME

    catalog = read_catalog(anchors)
    with progress_bar(quiet=quiet) as progress:
        check_mined_by(catalog, model.detector)
        bank = label_bank(catalog, model.detector, model.labels, progress=progress)
    if not bank.rows:
        raise DataError(f"No class of '{anchors}' has training anchors.")
    atomic_bytes(folder / BANK_NAME, bank.to_bytes(), overwrite=True)
    return bank


def _make_text(bank: "LabelBank | None", folder: Path, encoder: str) -> str:
    from querysep.errors import QueryError
    from querysep.io.files import atomic_bytes
    from querysep.io.text_map import TEXT_NAME
    from querysep.queries.text_training import bundled_phrases, train_text_map

    if bank is None:
        raise QueryError("Words need a label bank, which this model lacks. Add one with `querysep labels --build`.")
    trained = train_text_map(bank, bundled_phrases(), encoder)
    atomic_bytes(folder / TEXT_NAME, trained.text_map.to_bytes(), overwrite=True)
    return (
        f"{trained.phrases} phrases for {len(bank.rows)} classes; of phrases left out, {trained.top_1:.0%} find their "
        f"class first, {trained.top_5:.0%} among five\n{folder / TEXT_NAME}"
    )


def _label_rows(bank: "LabelBank") -> list[tuple[str, str, str, str]]:
    from querysep.queries.labels import LabelBook

    book = LabelBook(bank)
    own = []
    for row in bank.rows:
        classes = len(book.find(row.label).rows)
        examples = f"{'' if row.is_labeled else '~'}{row.examples}"
        own.append((row.label, examples, str(classes), "; ".join(book.ancestors(row.label))))
    parents = [(found.label, "", str(len(found.rows)), "") for found in book.parents()]
    return sorted(own, key=lambda row: row[0].casefold()) + sorted(parents, key=lambda row: row[0].casefold())


def _parameters(weights: Path) -> int:
    """Count trained values in a weights file; running statistics are not among them."""
    from safetensors import safe_open

    with safe_open(weights, framework="numpy") as file:
        trained = [name for name in file.keys() if "running_" not in name and "num_batches" not in name]  # noqa: SIM118
        return sum(math.prod(file.get_slice(name).get_shape()) for name in trained)
