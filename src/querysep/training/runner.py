"""What both trainings share: schedule, averaging, precision, checkpoints, resuming."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from querysep.errors import ConfigError, DataError
from querysep.progress import Progress
from querysep.training.callbacks import BEST_NAME, Report, Validation
from querysep.training.config import TrainingConfig


def moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Any], None]:
    """Return the update of an exponential average whose memory grows with the number of steps, up to ``decay``.

    Without the growth, a short training would end with much of its random start in the average.
    """

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], count: Any) -> None:
        keep = min(decay, (1.0 + float(count)) / (10.0 + float(count)))
        for mean, value in zip(averaged, current, strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1.0 - keep)
            else:
                mean.copy_(value)

    return update


NetworkT = TypeVar("NetworkT", bound=nn.Module)


class QueryModule(lightning.LightningModule, Generic[NetworkT]):
    """A network under training with averaged weights, a time-aware schedule and a guard against NaN."""

    def __init__(self, network: NetworkT, training: TrainingConfig) -> None:
        super().__init__()
        self.network = network
        self.training_config = training
        self.averaged = AveragedModel(
            network,
            multi_avg_fn=moving_average(training.ema_decay),
            use_buffers=True,
        )
        self.averaged.eval()
        self.averaged.requires_grad_(requires_grad=False)
        self._elapsed_s = self._sitting_s = 0.0
        self._started_s = time.monotonic()

    @property
    def average(self) -> NetworkT:
        """The network with averaged weights, in eval mode."""
        return cast(NetworkT, self.averaged.module)

    def learners(self) -> list[nn.Module]:
        """Return what the optimizer moves: the network, and whatever learns only to teach it."""
        return [self.network]

    def batch_loss(self, batch: Any) -> Tensor:
        """Return the loss of one batch; to be defined by each training."""
        raise NotImplementedError

    def validate(self) -> dict[str, float]:
        """Return figures of the averaged weights on the validation side, the one that counts (more is better) first.

        Empty where there is no validation side.
        """
        return {}

    def training_step(self, batch: Any, batch_index: int) -> Tensor:
        """Return the loss, or stop with an error that says where it became NaN."""
        loss = self.batch_loss(batch)
        if not torch.isfinite(loss):
            raise DataError(
                f"The loss became {loss.item()} at step {self.global_step}. Lower the learning rate and resume from "
                "the last checkpoint."
            )
        self.log("loss", loss, prog_bar=True)
        self.log("minutes", self.elapsed_s / 60.0)
        return loss

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Take a step and average the weights at once: a checkpoint written after this step holds both."""
        super().optimizer_step(*arguments, **named)
        self.averaged.update_parameters(self.network)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Stop when the time is used up."""
        minutes = self.training_config.minutes
        if minutes is not None and self.elapsed_s >= 60.0 * minutes:
            self.trainer.should_stop = True

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, over all sittings, at the beginning of the last step."""
        return self._elapsed_s + self._sitting_s

    def on_train_start(self) -> None:
        """Start this sitting's clock."""
        self._started_s = time.monotonic()

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Look at the clock; several processes go by that of the first, so that all stop after the same step."""
        seconds = time.monotonic() - self._started_s
        self._sitting_s = self.trainer.strategy.broadcast(seconds) if self.trainer.world_size > 1 else seconds

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the time used so far."""
        checkpoint["elapsed_s"] = self.elapsed_s

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the time used before."""
        self._elapsed_s = float(checkpoint["elapsed_s"])

    def rate_factor(self, step: int) -> float:
        """Return the learning rate at a step over the largest: a linear rise, then a cosine down to 1 %."""
        config = self.training_config
        if step < config.warmup_steps:
            return (step + 1) / config.warmup_steps
        done = step / config.steps
        if config.minutes is not None:
            done = max(done, self.elapsed_s / (60.0 * config.minutes))
        return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))

    def configure_optimizers(self) -> Any:
        """AdamW without decay on biases and norms; the schedule moves with each step."""
        parameters = [parameter for learner in self.learners() for parameter in learner.parameters()]
        decayed = [p for p in parameters if p.ndim > 1]
        plain = [p for p in parameters if p.ndim <= 1]
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(
            groups,
            lr=self.training_config.learning_rate,
            weight_decay=self.training_config.weight_decay,
        )
        # A bound method would go into the checkpoint with all it is bound to.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.rate_factor(step))  # noqa: PLW0108
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@dataclass(frozen=True)
class Crowd:
    """The processes of one training, as torchrun starts them; one process where it did not.

    Attributes:
        rank: number of this process.
        size: number of processes.
        local: how many of them are on this machine.
    """

    rank: int = 0
    size: int = 1
    local: int = 1

    @classmethod
    def here(cls) -> "Crowd":
        """Read what torchrun says."""
        names = ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names)) if all(name in os.environ for name in names) else cls()


class _Batches(IterableDataset[Any]):
    """The items of all steps that are left, in order, shared out among the loader's workers batch by batch.

    Of each step's items every process takes its equal part, so that a training is the same with any number of them.
    It has no length: Lightning would count the batches of earlier sittings against it and start over too early.
    """

    def __init__(self, items: Dataset[Any], done: int, config: TrainingConfig, crowd: Crowd) -> None:
        self._items = items
        self._done, self._steps, self._size = done, config.steps, config.batch_size
        self._crowd = crowd

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        part = self._size // self._crowd.size
        for step in range(self._done + number, self._steps, workers):
            first = step * self._size + self._crowd.rank * part
            for index in range(first, first + part):
                yield self._items[index]


def item_loader(items: Dataset[Any], done: int, config: TrainingConfig, crowd: Crowd | None = None) -> DataLoader[Any]:
    """Return the batches of all steps after ``done``, in order, whatever the number of workers.

    Raises:
        ConfigError: the processes cannot share a batch equally.
    """
    crowd = crowd or Crowd()
    if config.batch_size % crowd.size:
        raise ConfigError(
            f"{crowd.size} processes cannot share a batch of {config.batch_size} equally. "
            f"Set batch_size to a multiple of {crowd.size}."
        )
    return DataLoader(
        _Batches(items, done, config, crowd),
        batch_size=config.batch_size // crowd.size,
        num_workers=config.workers,
        multiprocessing_context="fork" if config.workers else None,
    )


def faster_precision() -> str:
    """Return ``bf16-mixed`` where bfloat16 runs a convolution and a product at least 1.2 times as fast as float32."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        image = torch.randn(1, 64, 64, 64, dtype=dtype).to(memory_format=torch.channels_last)
        layer = nn.Conv2d(64, 64, 3, padding=1).to(dtype)
        tokens, weights = torch.randn(2048, 256, dtype=dtype), torch.randn(256, 1024, dtype=dtype)
        times = []
        with torch.inference_mode():
            for _ in range(3):
                start = time.perf_counter()
                layer(image)
                torch.mm(tokens, weights)
                times.append(time.perf_counter() - start)
        seconds[dtype] = min(times)
    return "bf16-mixed" if seconds[torch.float32] > 1.2 * seconds[torch.bfloat16] else "32-true"


def run(
    module: QueryModule[NetworkT],
    items: Dataset[Any],
    folder: Path,
    progress: Progress,
) -> NetworkT:
    """Train to the end, resuming from ``folder/last.ckpt`` where there is one.

    Args:
        module: the network with its loss.
        items: numbered without end; step s takes the items from s * batch_size on.
        folder: for checkpoints and the log (metrics.csv).
        progress: told after each step.

    Returns:
        The averaged network, in eval mode: as it was at the best look at the validation side, where there is one.
    """
    config = module.training_config
    last = folder / "last.ckpt"
    done = int(torch.load(last, map_location="cpu", weights_only=True)["global_step"]) if last.is_file() else 0
    lightning.seed_everything(config.seed + done, verbose=False)
    match config.precision:
        case "auto":
            precision = faster_precision()
        case "float32":
            precision = "32-true"
        case "bfloat16":
            precision = "bf16-mixed"
    crowd = Crowd.here()
    trainer = lightning.Trainer(
        max_steps=config.steps,
        max_epochs=-1,
        accelerator="auto",
        devices=crowd.local if crowd.size > 1 else "auto",
        num_nodes=crowd.size // crowd.local,
        strategy="ddp" if crowd.size > 1 else "auto",
        precision=precision,  # type: ignore[arg-type]
        gradient_clip_val=config.gradient_norm,
        logger=[
            CSVLogger(folder, name="log", version=f"step{done}", flush_logs_every_n_steps=50),
            TensorBoardLogger(folder, name="tensorboard", version=f"step{done}"),
        ],
        log_every_n_steps=25,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            ModelCheckpoint(
                folder, filename="last", every_n_train_steps=config.checkpoint_steps, enable_version_counter=False
            ),
            Validation(folder, config),
            Report(progress, config),
        ],
    )
    if done < config.steps:
        trainer.fit(
            module,
            item_loader(items, done, config, crowd),
            ckpt_path=last if last.is_file() else None,
            weights_only=True,
        )
        trainer.save_checkpoint(last)
    if (folder / BEST_NAME).is_file():
        module.averaged.module.load_state_dict(torch.load(folder / BEST_NAME, map_location="cpu", weights_only=True))
    return cast(NetworkT, module.averaged.module.eval())
