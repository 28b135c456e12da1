"""What happens beside the steps of a training: its progress, validation, checkpoints, and an end that was asked for."""

import io
import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback, Checkpoint

from querysep.errors import DataError
from querysep.io.files import atomic_bytes, output_error
from querysep.progress import Progress
from querysep.training.config import TrainingConfig

BEST_NAME, LAST_NAME = "best.pt", "last.ckpt"
_SECOND_S = 1.0


def write_checkpoint(trainer: Any, path: Path) -> None:
    """Write a checkpoint; the one before stays where this one cannot be written. All processes call it.

    Raises:
        OutputError: the disk is full, or the folder cannot be written to.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise output_error(path, error) from error


class StopRequest(Callback):
    """Ends a training after the step that runs, when Ctrl-C or SIGTERM asks for it; a later Ctrl-C ends it at once."""

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._noted_s = 0.0

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Take the signals while the block runs, where this thread may."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        self._catch()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Take the signals again: Lightning has put a handler of its own before ours."""
        if threading.current_thread() is threading.main_thread():
            self._catch()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """End after this step; several processes all end after the step that the first one says."""
        if module.is_stop_requested if trainer.world_size > 1 else self.signal_number is not None:
            trainer.should_stop = True

    def _catch(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._note)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.signal_number is None:
            self.signal_number, self._noted_s = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - self._noted_s > _SECOND_S:  # no echo of the first
            raise KeyboardInterrupt


class Report(Callback):
    """Calls the caller's progress with how far the training is, how fast it goes and how long it will take."""

    def __init__(self, progress: Progress, config: TrainingConfig) -> None:
        self._progress = progress
        self._config = config
        self._first = (0, 0.0)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Begin to count."""
        self._first = (trainer.global_step, time.monotonic())

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Report one step."""
        config, step = self._config, trainer.global_step
        rate = (step - self._first[0]) / max(time.monotonic() - self._first[1], 1e-6)
        left_s = (config.steps - step) / max(rate, 1e-6)
        if config.minutes is not None:
            left_s = min(left_s, max(0.0, 60.0 * config.minutes - module.elapsed_s))
        self._progress(
            step,
            config.steps,
            f"loss {module.last_loss:.3f}, {rate * config.batch_size:.0f} items/s, {left_s / 60.0:.0f} min left",
        )


class Checkpoints(Checkpoint):
    """Writes ``last.ckpt`` every so many steps and every so many minutes; Lightning lets it run after all others."""

    def __init__(self, folder: Path, config: TrainingConfig) -> None:
        self._path = folder / LAST_NAME
        self._config = config
        self._saved_s = 0.0

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Begin to count."""
        self._saved_s = module.elapsed_s

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write, if it is time."""
        waited_s = module.elapsed_s - self._saved_s
        if trainer.global_step % self._config.checkpoint_steps and waited_s < 60.0 * self._config.checkpoint_minutes:
            return
        write_checkpoint(trainer, self._path)
        self._saved_s = module.elapsed_s


class Validation(Callback):
    """Measures the validation side, keeps the best averaged weights, and stops when nothing gets better."""

    def __init__(self, folder: Path, config: TrainingConfig) -> None:
        self._path = folder / BEST_NAME
        self._config = config
        self._best: float | None = None
        self._since = 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Validate, every so many steps and after the last; raise ``DataError`` where the figure is not a number."""
        is_last = module.is_time_up or trainer.global_step == self._config.steps
        if trainer.global_step % self._config.validation_steps and not is_last:
            return
        figures = module.validate()
        if not figures:
            return
        for name, value in figures.items():
            module.log(name, value)
        counted, counts = next(iter(figures.items()))
        if not math.isfinite(counts):
            raise DataError(
                f"At step {trainer.global_step} the figure {counted} became {counts}: the averaged weights are broken. "
                "Lower the learning rate and begin again in a new folder."
            )
        if self._best is None or counts > self._best:
            self._best, self._since = counts, 0
            if trainer.is_global_zero:
                content = io.BytesIO()
                torch.save(module.averaged.module.state_dict(), content)
                atomic_bytes(self._path, content.getvalue())
        else:
            self._since += 1
            if self._config.patience and self._since >= self._config.patience:
                trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training has to know."""
        return {"best": self._best, "since": self._since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what was known at the checkpoint, unless the best weights are gone."""
        if self._path.is_file():
            self._best, self._since = state_dict["best"], state_dict["since"]


def is_out_of_patience(checkpoint: dict[str, Any], config: TrainingConfig) -> bool:
    """Tell whether a checkpoint was written when nothing had got better for long enough."""
    state = checkpoint["callbacks"].get(Validation.__qualname__, {"since": 0})
    return bool(config.patience and state["since"] >= config.patience)
