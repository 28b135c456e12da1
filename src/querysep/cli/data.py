"""``querysep data``: check data sets, measure them and pack them into stores."""

from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from querysep.cli.options import (
    AudioFolder,
    ClassList,
    DataPath,
    LayoutOption,
    Quiet,
    StorageOptions,
    parse_storage_options,
)
from querysep.cli.terminal import print_table, progress_bar, show_paths, warn
from querysep.data.formats import DataFormat
from querysep.errors import ConfigError, DataError

if TYPE_CHECKING:
    from querysep.data.check.report import CheckReport, Embed
    from querysep.data.manifest import Split
    from querysep.data.statistics import Amount, Statistics

_SAMPLE_RATE = 32_000
_SPLITS: tuple["Split", ...] = ("train", "validation", "test")
_WORST = 3
_WIDTH = 120
_SHOWN = 3

data = typer.Typer(help="Check, measure and pack data sets.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(data, name="data")


@data.callback()
def _group() -> None:
    """Check, measure and pack data sets."""


@data.command()
def check(
    path: DataPath,
    layout: LayoutOption = None,
    audio: AudioFolder = None,
    classes: ClassList = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all findings here.", metavar="FILE")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 2 where something spoils training.")] = False,
    labels: Annotated[
        bool, typer.Option("--labels/--no-labels", help="Look for wrong labels by the detector: takes longest.")
    ] = True,
    model: Annotated[
        str, typer.Option("--model", help="Whose detector compares sounds with labels.", metavar="NAME|DIR")
    ] = "default",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    quiet: Quiet = False,
) -> None:
    """Tell what in a data set will hurt training: bad files, copies, leaks, doubtful labels, thin classes."""
    from querysep.data.check.report import check_recordings
    from querysep.data.formats.data_set import open_recordings
    from querysep.io.files import OutputSet

    with OutputSet(overwrite=overwrite) as outputs:
        if json_file is not None:
            outputs.add(json_file)
        with progress_bar(quiet=quiet) as progress:
            opened = open_recordings(
                path, _SAMPLE_RATE, data_format=layout, audio=audio, classes=classes, progress=progress
            )
            report = check_recordings(opened, embed=embedder(model) if labels else None, progress=progress)
        if json_file is not None:
            outputs.write(json_file, _findings_json(report))
    warn(report.warnings, quiet=quiet)
    _show_findings(report)
    if json_file is not None:
        show_paths([json_file])
    if strict and report.hurts:
        raise DataError(f"'{path}' has findings that spoil training (marked '!'). Mend them, or leave out --strict.")


def embedder(model: str) -> "Embed":
    """Return the detector's latent embedding of the loudest seconds of a clip."""
    import numpy as np
    import torch

    from querysep.data.check.labels import loudest
    from querysep.detection.windows import embed
    from querysep.model import load_detector

    network = load_detector(Path(model)).network
    if network.config.sample_rate != _SAMPLE_RATE:
        raise DataError(f"The detector of '{model}' hears {network.config.sample_rate} Hz; want {_SAMPLE_RATE}.")

    def vector(samples: "np.typing.NDArray[np.int16]") -> "np.typing.NDArray[np.float32]":
        wave = loudest(samples, _SAMPLE_RATE).astype(np.float32) / 32_768
        latent: np.typing.NDArray[np.float32] = embed(network, torch.from_numpy(wave)[None])[0].numpy()
        return latent

    return vector


def _findings_json(report: "CheckReport") -> bytes:
    from querysep.data.check.report import KINDS
    from querysep.io.files import json_bytes

    content = {
        "clips": report.clips,
        "hours": round(report.hours, 3),
        "layout": report.data_format,
        "warnings": report.warnings,
        "counts": {kind: len(list(same)) for kind, same in groupby(report.findings, lambda one: one.kind)},
        "findings": [{"hurts": KINDS[one.kind].hurts} | asdict(one) for one in report.findings],
    }
    return json_bytes(content, indent=1)


def _show_findings(report: "CheckReport") -> None:
    """Print how many of each kind there are, the worst of them, and what to do."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from querysep.data.check.report import KINDS

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    console.print(f"{report.clips} clips, {report.hours:.2f} hours, read as {report.data_format}")
    if not report.findings:
        console.print("Nothing found that would hurt.")
        return
    table = Table("", "found", "what", "the worst, and what to do", show_lines=True)
    for kind, same in groupby(report.findings, lambda one: one.kind):
        note, findings = KINDS[kind], list(same)
        worst = "\n".join(f"{one.path}: {one.detail}" for one in findings[:_WORST])
        more = f"\n... and {len(findings) - _WORST} more" if len(findings) > _WORST else ""
        table.add_row(
            "!" if note.hurts else "",
            str(len(findings)),
            Text(f"{kind}\n{note.meaning}"),
            Text(f"{worst}{more}\n-> {note.advice}"),
        )
    console.print(table)
    console.print("'!' spoils training or its evaluation. --json FILE writes every finding.", markup=False)


@data.command()
def stats(
    path: DataPath,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for stats.json and plots.", metavar="DIR")
    ] = None,
    layout: LayoutOption = None,
    audio: AudioFolder = None,
    classes: ClassList = None,
    measure: Annotated[
        int, typer.Option(help="Measure the loudness of so many clips at most; 0: count only.", min=0)
    ] = 20_000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    quiet: Quiet = False,
) -> None:
    """Tell how much there is of every class: hours, clips, origins, durations, loudness, licences."""
    from querysep.data.formats.data_set import open_recordings
    from querysep.data.statistics import measure as measure_recordings
    from querysep.data.statistics import plot_classes, plot_licences, plot_spreads
    from querysep.io.files import OutputSet, check_folder

    if output is not None:
        check_folder(output)
    with OutputSet(overwrite=overwrite) as outputs:
        parts = {}
        if output is not None:
            for name in ("stats.json", "classes.png", "spreads.png", "licences.png"):
                parts[name] = outputs.add(output / name)
        with progress_bar(quiet=quiet) as progress:
            opened = open_recordings(
                path, _SAMPLE_RATE, data_format=layout, audio=audio, classes=classes, progress=progress
            )
            found = measure_recordings(opened, most=measure, progress=progress)
        if parts:
            parts["stats.json"].write_text(found.model_dump_json(indent=1) + "\n", encoding="utf-8")
            plot_classes(found, parts["classes.png"])
            plot_spreads(found, parts["spreads.png"])
            plot_licences(found, parts["licences.png"])
    warn([*opened.warnings, *_statistics_warnings(found, len(opened.problems))], quiet=quiet)
    _show_statistics(found)
    if output is not None:
        show_paths([output / name for name in parts])


def _statistics_warnings(found: "Statistics", problems: int) -> list[str]:
    warnings = []
    if problems:
        warnings.append(f"{problems} clips could not be taken; `querysep data check` names them.")
    if found.unreadable:
        warnings.append(f"{len(found.unreadable)} clips cannot be read, such as {found.unreadable[0]}.")
    if found.shared_origins:
        warnings.append(
            f"{len(found.shared_origins)} origins lie in more than one split, such as {found.shared_origins[0]}."
        )
    return warnings


def _show_statistics(found: "Statistics") -> None:
    rows = []
    for one in found.classes:
        amounts = [one.splits.get(split) for split in _SPLITS]
        rows.append(
            (
                one.label + (" *" if one.held_out else ""),
                *(str(amount.clips) if amount else "" for amount in amounts),
                *(_minutes(amount) for amount in amounts),
                str(sum(one.origins.values())),
                str(one.rendered or ""),
                f"{one.duration_s.median:.1f}",
                f"{one.loudness_db.median:.0f}" if one.loudness_db else "",
            )
        )
    heads = ("class", "train", "valid.", "test", "min", "min", "min", "origins", "rendered", "median s", "dB RMS")
    print_table(heads, rows, right=range(1, len(heads)))
    typer.echo("")
    print_table(
        ("licence", "clips", "hours"),
        [(name, str(amount.clips), f"{amount.hours:.2f}") for name, amount in found.licences.items()],
        right=(1, 2),
    )
    typer.echo("")
    splits = ", ".join(f"{split} {amount.clips} clips {amount.hours:.2f} h" for split, amount in found.splits.items())
    typer.echo(f"{found.clips} clips, {found.hours:.2f} hours, {len(found.classes)} classes: {splits}")
    if any(one.held_out for one in found.classes):
        typer.echo("* held out of training")


def _minutes(amount: "Amount | None") -> str:
    return f"{60 * amount.hours:.1f}" if amount else ""


@data.command()
def pack(
    path: DataPath,
    store: Annotated[
        str,
        typer.Option("-o", "--output", help="Folder or s3://bucket/prefix; what was begun goes on.", metavar="STORE"),
    ],
    layout: LayoutOption = None,
    audio: AudioFolder = None,
    classes: ClassList = None,
    sample_rate: Annotated[int, typer.Option(help="Of the sound in the store, Hz.", min=1)] = 32_000,
    split: Annotated[str | None, typer.Option(help="Pack one split only.", metavar="|".join(_SPLITS))] = None,
    storage_options: StorageOptions = None,
    quiet: Quiet = False,
) -> None:
    """Pack clips into a store: fast reads from anywhere in them, here or on an object store."""
    chosen = _split_named(split)
    options = parse_storage_options(storage_options)
    _refuse_itself(path, store, layout)
    from querysep.data.formats.data_set import open_recordings
    from querysep.data.store import check_location
    from querysep.data.store.packing import pack as run

    check_location(store)
    with progress_bar(quiet=quiet) as progress:
        opened = open_recordings(
            path, sample_rate, data_format=layout, split=chosen, audio=audio, classes=classes, progress=progress
        )
        packed = run(opened, store, options=options, progress=progress)
    lost = [f"{one.path}: {one.detail}" for one in opened.problems] + [
        f"{name}: {why}" for name, why in packed.unreadable
    ]
    more = (
        [f"{len(lost)} in all could not be taken. `querysep data check` tells of each."] if len(lost) > _SHOWN else []
    )
    warn([*opened.warnings, *lost[:_SHOWN], *more], quiet=quiet)
    there = packed.clips - packed.added
    typer.echo(f"{packed.added} clips packed" + (f", {there} were there" if there else ""))
    typer.echo(packed.address)


def _refuse_itself(path: str, store: str, layout: DataFormat | None) -> None:
    from querysep.data.store import is_store

    same = path.rstrip("/") == store.rstrip("/") or Path(path).resolve() == Path(store).resolve()
    if same and layout in (None, DataFormat.STORE) and is_store(path):
        raise ConfigError(
            f"'{path}' is the store itself. If clips lie there as well, name their layout (--layout manifest)."
        )


def _split_named(name: str | None) -> "Split | None":
    for split in _SPLITS:
        if name == split:
            return split
    if name is None:
        return None
    raise ConfigError(f"'{name}' is no split. There are: {', '.join(_SPLITS)}.")
