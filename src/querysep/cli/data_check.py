"""``querysep data check``: what in a data set will hurt training."""

import json
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from querysep.cli.options import AudioFolder, ClassList, DataPath, LayoutOption, Quiet
from querysep.cli.terminal import progress_bar, show_paths, warn
from querysep.errors import DataError

if TYPE_CHECKING:
    from querysep.data.check.report import CheckReport, Embed

_SAMPLE_RATE = 32_000
_WORST = 3
_WIDTH = 120


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
        part = None if json_file is None else outputs.add(json_file)
        with progress_bar(quiet=quiet) as progress:
            opened = open_recordings(
                path, _SAMPLE_RATE, data_format=layout, audio=audio, classes=classes, progress=progress
            )
            report = check_recordings(opened, embed=embedder(model) if labels else None, progress=progress)
        if part is not None:
            part.write_text(_as_json(report), encoding="utf-8")
    warn(report.warnings, quiet=quiet)
    _show(report)
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


def _as_json(report: "CheckReport") -> str:
    from querysep.data.check.report import KINDS

    content = {
        "clips": report.clips,
        "hours": round(report.hours, 3),
        "layout": report.data_format,
        "warnings": report.warnings,
        "counts": {kind: len(list(same)) for kind, same in groupby(report.findings, lambda one: one.kind)},
        "findings": [{"hurts": KINDS[one.kind].hurts} | asdict(one) for one in report.findings],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _show(report: "CheckReport") -> None:
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
