"""``querysep mine``: from labelled clips to anchors."""

from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from querysep.cli.options import Address, EngineName, EngineOption, KeepTest, Quiet, Workers, check_engine
from querysep.cli.terminal import progress_bar
from querysep.errors import ConfigError

if TYPE_CHECKING:
    from querysep.anchors.choice import MiningSettings
    from querysep.anchors.mine import Engine, MiningReport

_SHOWN = 5  # of a long list


class Choice(StrEnum):
    """Which window of a clip becomes the anchor."""

    MOST_PRESENT = "most_present"
    PUBLISHED = "published"


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(mine)


def mine(
    data: Annotated[
        str, typer.Option(help="Data set of any layout that `querysep data` knows, or a store.", metavar="PATH")
    ],
    detector: Annotated[Path, typer.Option(help="Weights folder of the detector.", metavar="DIR")],
    output: Annotated[
        str | None, typer.Option("-o", "--output", help="Store for the anchors; by default PATH, if it is a store.")
    ] = None,
    stretch_s: Annotated[
        float | None, typer.Option("--stretch", help="One anchor in each stretch of a clip, seconds.  [default: 10]")
    ] = None,
    per_clip: Annotated[
        int | None, typer.Option(help="Up to so many anchors anywhere in a clip, that do not overlap.", min=1)
    ] = None,
    choice: Annotated[Choice, typer.Option(help="published: the authors' rule to the sample.")] = Choice.MOST_PRESENT,
    min_score: Annotated[float, typer.Option(help="Leave out anchors below this score.", min=0, max=1)] = 0.0,
    min_purity: Annotated[float, typer.Option(help="Leave out anchors below this purity.", min=0, max=1)] = 0.0,
    engine: EngineOption = EngineName.LOCAL,
    address: Address = None,
    workers: Workers = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    keep_test: KeepTest = False,
    quiet: Quiet = False,
) -> None:
    """Find the anchor segments of a data set: where in each clip its classes are most present."""
    settings = _settings(stretch_s, per_clip, choice, min_score, min_purity)
    location = output or _store(data)
    from querysep.anchors.mine import mine as run
    from querysep.anchors.miner import Miner
    from querysep.anchors.relations import relations_of
    from querysep.data.formats.data_set import open_recordings
    from querysep.data.store import check_location
    from querysep.model import choose_device, load_detector

    check_location(location)
    trained = load_detector(detector)
    with progress_bar(quiet=quiet) as progress:
        opened = open_recordings(data, trained.network.config.sample_rate, keep_test=keep_test, progress=progress)
        relations = relations_of(clip.labels for clip in opened.clips)
        here = choose_device(device if engine is EngineName.LOCAL else "cpu")
        miner = Miner(trained.network, trained.labels, relations, settings, here)
        with _engine(engine, address, workers, device) as where:
            report = run(opened.recordings, miner, trained.hash, location, engine=where, progress=progress)
    for line in [*opened.warnings, *_lines(report, len(opened.problems))]:
        typer.echo(line)
    typer.echo(location)


def _settings(
    stretch_s: float | None, per_clip: int | None, choice: Choice, min_score: float, min_purity: float
) -> "MiningSettings":
    from pydantic import ValidationError

    from querysep.anchors.choice import MiningSettings

    if stretch_s is not None and per_clip is not None:
        raise ConfigError("--stretch and --per-clip are two ways to ask for several anchors; take one of them.")
    given = {} if stretch_s is None else {"stretch_s": stretch_s}
    try:
        return MiningSettings(
            choice=choice.value, per_clip=per_clip, min_score=min_score, min_purity=min_purity, **given
        )
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise ConfigError(f"These options do not fit together: {reason}.") from error


def _store(data: str) -> str:
    """Return the store that the data set is, for its anchors."""
    from querysep.data.store import is_store

    if not is_store(data):
        raise ConfigError(f"'{data}' is not a store, so say where the anchors shall go: -o STORE.")
    return data


def _engine(
    name: EngineName, address: str | None, workers: int | None, device: str
) -> "AbstractContextManager[Engine]":
    if name is EngineName.RAY:
        from querysep.distributed.mining import ray_engine

        return ray_engine(address, workers, device)
    check_engine(name, address, workers)
    from querysep.anchors.mine import mine_here

    return nullcontext(mine_here)


def _lines(report: "MiningReport", problems: int) -> list[str]:
    """Return what happened, in words."""
    lines = []
    if report.started_over:
        lines.append("The anchors that lay there are of another detector or other settings; all clips are mined anew.")
    if problems:
        lines.append(f"{problems} clips of the data set cannot be used: see `querysep data check`.")
    lines += [f"left out: {count} {reason}" for reason, count in report.left_out.most_common() if count]
    for key, reason in list(report.unreadable.items())[:_SHOWN]:
        lines.append(f"not read: {key}: {reason}")
    if len(report.unreadable) > _SHOWN:
        lines.append(f"not read: {len(report.unreadable) - _SHOWN} more clips; a further call tries them again")
    before = report.clips - report.mined - len(report.unreadable)
    lines.append(f"{report.anchors} anchors of {report.mined} clips; {before} clips were mined before")
    return lines
