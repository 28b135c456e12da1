"""A protocol of a few made-up figures, for tests of what runs and shows protocols."""

import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from querysep.evaluation.metrics.intervals import bootstrap_interval
from querysep.evaluation.protocols.protocol import Protocol, Row, Summary
from querysep.types import Audio

RATE = 16_000


class ToyProtocol(Protocol):
    """Two rows a task, one of them without a figure now and then.

    Args:
        count: tasks.
        log: a file that each measured task is written into.
        kill_at: task at which the process kills itself.
        kind: a setting.
    """

    name = "toy"
    version = 1
    headline = "sdri_db"
    data_hash = "d" * 16

    def __init__(self, count: int = 6, log: Path | None = None, kill_at: str = "", kind: str = "plain") -> None:
        self._count, self._log, self._kill_at, self._kind = count, log, kill_at, kind

    def settings(self) -> Mapping[str, object]:
        return {"count": self._count, "kind": self._kind, "seed": 3}

    def tasks(self) -> Sequence[str]:
        return [f"mixture/{index:02d}" for index in range(self._count)]

    def measure(self, task: str) -> list[Row]:
        if task == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(task + "\n")
        index = int(task.split("/")[1])
        rng = np.random.default_rng(index)
        figures = (float("nan") if index == 4 else rng.normal(5.0, 3.0), 1.0 / (index + 3) + rng.normal(2.0, 1.0))
        return [
            Row(
                task=task,
                group=group,
                label=label,
                values={"sdri_db": figure, "presence": float(rng.random())},
                facts={"clip": f"{label}/{index}.flac"},
            )
            for group, label, figure in zip(
                ("seen", "held-out"), ("Dog <&>", f"Bell {index % 2}"), figures, strict=True
            )
        ]

    def summarise(self, rows: Sequence[Row]) -> list[Summary]:
        summaries = []
        for group in ("seen", "held-out"):
            figures = np.array([row.values["sdri_db"] for row in rows if row.group == group])
            figures = figures[np.isfinite(figures)]
            summaries.append(
                Summary(
                    name=group,
                    count=len(figures),
                    values={"sdri_db": float(figures.mean()), "made_worse": float((figures < 0).mean())},
                    intervals={"sdri_db": bootstrap_interval(figures)},
                )
            )
        return [*summaries, Summary(name="nothing", count=0, values={"si_sdri_db": float("nan")})]

    def sounds(self, row: Row) -> dict[str, Audio]:
        if row.group == "held-out":
            return {}
        time_s = np.arange(RATE // 2) / RATE
        tone = (0.3 * np.sin(2 * np.pi * 440.0 * time_s)).astype(np.float32)[None]
        return {"mixture": Audio(tone, RATE), "target": Audio(0.5 * tone, RATE)}
