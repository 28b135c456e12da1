"""How long work reports on itself: the library calls, the command line draws."""

from typing import Protocol


class Progress(Protocol):
    """Called as work goes on."""

    def __call__(self, done: float, total: float | None, what: str) -> None:
        """Take one report.

        Args:
            done: amount of work finished, in the unit of ``total``.
            total: all the work, or None where it is not known.
            what: the step that is running, in a word or two.
        """


def silent(done: float, total: float | None, what: str) -> None:
    """Report nothing: the default everywhere."""
