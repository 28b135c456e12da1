"""The ``querysep`` command. Each module beside this one holds a group of commands; none imports torch at start-up."""

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
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
from querysep.cli.terminal import print_any_name, say
from querysep.errors import Interrupted, QuerysepError

USER_CAN_MEND = 2
INTERRUPTED = 128 + signal.SIGINT
READER_IS_GONE = 1
_INTERRUPTED = "querysep: interrupted; nothing half-written is left behind."

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
    print_any_name()
    for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):  # Windows has no SIGHUP
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wishes
            signal.signal(number, _leave)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupt)
    status = run(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done, and the interpreter would show where it was
    sys.exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what follows the program's name; by default, what the process was given. A "~" at the beginning of
            one, or of an option's value, is the home folder, also where the shell leaves it.

    Returns:
        The exit code, as :func:`main` tells it. Mistakes in the program itself come out as exceptions.
    """
    words = [_with_home(word) for word in (sys.argv[1:] if arguments is None else arguments)]
    try:
        status = app(args=words, prog_name="querysep", standalone_mode=False)
        sys.stdout.flush()
    except QuerysepError as error:
        return _refuse(str(error))
    except TyperException as error:
        return _refuse_usage(error)
    except BrokenPipeError:
        _give_up_stdout()
        return READER_IS_GONE
    except OSError as error:  # a full disk, a drive that is gone: of the system, not of the program
        if error.errno is None:
            raise
        named = "" if error.filename is None else f"'{error.filename}': "
        status = _refuse(f"{named}{error.strerror or os.strerror(error.errno)}. Mend that and try again.")
        _give_up_stdout()  # it may be what is full
        return status
    except Interrupted as stopped:
        if str(stopped):  # of several processes one says it
            say(f"querysep: {stopped}")
        return 128 + stopped.signal_number
    except (KeyboardInterrupt, Abort):
        status = INTERRUPTED
    if status == INTERRUPTED:
        say(_INTERRUPTED)
    return status if isinstance(status, int) else 0


def _with_home(word: str) -> str:
    option, equals, value = word.partition("=")
    if equals and option.startswith("--"):
        return f"{option}={os.path.expanduser(value)}"  # noqa: PTH111 - pathlib refuses users that are not there
    return os.path.expanduser(word)  # noqa: PTH111


def _give_up_stdout() -> None:
    """Send what is still to be printed nowhere, or the interpreter complains when it flushes."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    say(f"querysep: error: {' '.join(message.split())}")
    return USER_CAN_MEND


def _interrupt(_signal_number: int, _frame: FrameType | None) -> NoReturn:
    """Unwind the stack at the first Ctrl-C; a second one must not stop that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _leave(signal_number: int, _frame: FrameType | None) -> None:
    """Unwind the stack, so that whatever is half-written is taken away."""
    signal.signal(signal_number, signal.SIG_IGN)
    with suppress(OSError):
        os.write(2, b"querysep: terminated; nothing half-written is left behind.\n")
    sys.exit(128 + signal_number)
