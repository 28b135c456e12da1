"""The ``querysep`` command. Each module beside this one holds a group of commands; none imports torch at start-up."""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Annotated, NoReturn

import typer
from typer.exceptions import Abort, TyperException

from querysep.cli import (
    bank,
    calibrate,
    data,
    detect,
    evaluate,
    importing,
    mining,
    models,
    separate,
    split,
    training,
)
from querysep.errors import Interrupted, QuerysepError

USER_CAN_MEND = 2
INTERRUPTED = 128 + signal.SIGINT
READER_IS_GONE = 1

app = typer.Typer(
    name="querysep",
    help="Take one sound out of a recording: show it what you mean, get that sound and everything else.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"querysep {version('querysep')}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    pass


for _group in (separate, split, detect, models, bank, importing, data, mining, training, calibrate, evaluate):
    _group.register(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave the process.

    Args:
        arguments: what follows the program's name; by default, what the process was given.

    Raises:
        SystemExit: always. 0 done; 2 something that the user can mend, in one line; 130 interrupted.
    """
    signal.signal(signal.SIGTERM, _leave)
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; by default, what the process was given.

    Returns:
        The exit code, as :func:`main` tells it. Mistakes in the program itself come out as exceptions.
    """
    try:
        status = app(args=arguments, prog_name="querysep", standalone_mode=False)
        sys.stdout.flush()
    except QuerysepError as error:
        return _refuse(str(error))
    except TyperException as error:
        return _refuse_usage(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it flushes
        return READER_IS_GONE
    except Interrupted as stopped:
        sys.stderr.write(f"querysep: {stopped}\n" if str(stopped) else "")  # of several processes one says it
        return 128 + stopped.signal_number
    except (KeyboardInterrupt, Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        sys.stderr.write("querysep: interrupted; nothing half-written is left behind.\n")
    return status if isinstance(status, int) else 0


def _refuse_usage(error: TyperException) -> int:
    message = error.format_message()
    if not message:
        return USER_CAN_MEND  # bare `querysep`: the help has been shown
    message = message.replace(": Value error, ", ": ")  # pydantic's, out of place in a sentence
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "querysep"
    return _refuse(f"{message.rstrip('.')}. See `{command} --help`.")


def _refuse(message: str) -> int:
    """Say what was wrong in one line."""
    sys.stderr.write(f"querysep: error: {' '.join(message.split())}\n")
    return USER_CAN_MEND


def _leave(signal_number: int, _frame: FrameType | None) -> None:
    """Unwind the stack, so that whatever is half-written is taken away."""
    os.write(2, b"querysep: terminated; nothing half-written is left behind.\n")
    sys.exit(128 + signal_number)
