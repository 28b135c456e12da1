"""``querysep`` and ``python -m querysep``: the command line, with nothing large imported before Ctrl-C has its way."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and leave the process; see `querysep.cli.main.main`."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave_at_once)
    _open_what_is_closed()
    from querysep.cli.main import main as run

    run()


def _leave_at_once(_signal_number: int, _frame: FrameType | None) -> None:
    """End the process while it still imports: nothing is begun, and an exception may come out as another one there."""
    os.write(2, b"querysep: interrupted; nothing half-written is left behind.\n")
    os._exit(128 + signal.SIGINT)


def _open_what_is_closed() -> None:
    """Stand in for standard streams that are closed, or the first file that is opened would get all that is printed."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


if __name__ == "__main__":
    main()
