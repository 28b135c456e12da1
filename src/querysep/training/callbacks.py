"""What happens beside the steps of a training: telling how far it is, and looking at the validation side."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback

from querysep.errors import DataError
from querysep.progress import Progress
from querysep.training.config import TrainingConfig

BEST_NAME = "best.pt"


class Report(Callback):
    """Tells the caller's progress how far the training is, how fast it goes and how long it will take."""

    def __init__(self, progress: Progress, config: TrainingConfig) -> None:
        self._progress = progress
        self._config = config
        self._first = (0, 0.0)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Begin to count."""
        self._first = (trainer.global_step, time.monotonic())

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell."""
        config, step = self._config, trainer.global_step
        rate = (step - self._first[0]) / max(time.monotonic() - self._first[1], 1e-6)
        left_s = (config.steps - step) / max(rate, 1e-6)
        if config.minutes is not None:
            left_s = min(left_s, max(0.0, 60.0 * config.minutes - module.elapsed_s))
        self._progress(
            step,
            config.steps,
            f"loss {float(outputs['loss']):.3f}, {rate * config.batch_size:.0f} items/s, {left_s / 60.0:.0f} min left",
        )


class Validation(Callback):
    """Looks at the validation side, keeps the best averaged weights, and stops when nothing gets better."""

    def __init__(self, folder: Path, config: TrainingConfig) -> None:
        self._path = folder / BEST_NAME
        self._config = config
        self._best: float | None = None
        self._since = 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look, every so many steps and after the last; raise ``DataError`` where the figure is not a number."""
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
                part = self._path.with_suffix(".part")
                torch.save(module.averaged.module.state_dict(), part)
                part.replace(self._path)
        else:
            self._since += 1
            if self._config.patience and self._since >= self._config.patience:
                trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training has to know."""
        return {"best": self._best, "since": self._since}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what an earlier sitting knew."""
        self._best, self._since = state_dict["best"], state_dict["since"]
