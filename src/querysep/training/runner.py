"""What both trainings share: schedule, averaging, precision, checkpoints, resuming."""

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from querysep.errors import DataError
from querysep.progress import Progress
from querysep.training.batches import Crowd, Items, item_loader
from querysep.training.callbacks import BEST_NAME, Report, Validation
from querysep.training.config import TrainingConfig
from querysep.training.muon import Muon


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


_LAST = "last.ckpt"

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
        if self.is_time_up:
            self.trainer.should_stop = True

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, over all sittings, at the beginning of the last step."""
        return self._elapsed_s + self._sitting_s

    @property
    def is_time_up(self) -> bool:
        """Whether this step is the last because the minutes are used up."""
        minutes = self.training_config.minutes
        return minutes is not None and self.elapsed_s >= 60.0 * minutes

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
        """No decay on biases and norms; the schedule moves with each step."""
        config = self.training_config
        parameters = [parameter for learner in self.learners() for parameter in learner.parameters()]
        optimizer: torch.optim.Optimizer
        if config.optimizer == "muon":
            optimizer = Muon(parameters, config.learning_rate, config.weight_decay)
        else:
            decayed = [p for p in parameters if p.ndim > 1]
            plain = [p for p in parameters if p.ndim <= 1]
            groups: list[dict[str, Any]] = [{"params": decayed}, {"params": plain, "weight_decay": 0.0}]
            optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay)
        # A bound method would go into the checkpoint with all it is bound to.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.rate_factor(step))  # noqa: PLW0108
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


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


def is_begun(folder: Path) -> bool:
    """Tell whether a training has left a checkpoint to go on from."""
    return (folder / _LAST).is_file()


@contextmanager
def _lightning_hushed() -> Iterator[None]:
    """Hide what Lightning says of itself; nothing of it is about the user's sounds or settings."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        logger.setLevel(level)


@_lightning_hushed()
def run(
    module: QueryModule[NetworkT],
    items: Items,
    folder: Path,
    progress: Progress,
) -> NetworkT:
    """Train to the end, resuming from ``folder/last.ckpt`` where there is one.

    Args:
        module: the network with its loss.
        items: step s takes those from s * batch_size on.
        folder: for checkpoints and the log (metrics.csv).
        progress: told after each step.

    Returns:
        The averaged network, in eval mode: as it was at the best look at the validation side, where there is one.
    """
    config = module.training_config
    last = folder / _LAST
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
