"""What both trainings share: schedule, averaging, precision, checkpoints, resuming."""

import copy
import ctypes
import logging
import math
import re
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import lightning
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor, nn

from querysep.errors import ConfigError, DataError, DeviceError, Interrupted, QuerysepError
from querysep.io.files import output_error
from querysep.model import choose_device
from querysep.progress import Progress
from querysep.training.batches import Crowd, Items, item_loader
from querysep.training.callbacks import (
    BEST_NAME,
    LAST_NAME,
    Checkpoints,
    Report,
    StopRequest,
    Validation,
    is_out_of_patience,
    write_checkpoint,
)
from querysep.training.config import TrainingConfig
from querysep.training.muon import Muon
from querysep.training.run_folder import read_run

_M_MMAP_THRESHOLD = -3  # of mallopt
_STEPS_AHEAD = 2  # of the GPU that are prepared while it works
_GROUP_TIMEOUT = timedelta(minutes=30)  # processes prepare apart from each other before they meet


NetworkT = TypeVar("NetworkT", bound=nn.Module)


class Average(nn.Module, Generic[NetworkT]):
    """An exponential average of a network's weights whose memory grows with the number of steps, up to ``decay``.

    Without the growth, a short training would end with much of its random start in the average.

    Attributes:
        module: the network with averaged weights, in eval mode.
        steps: that were averaged; a number and no tensor, which a GPU would have to be waited for.
    """

    def __init__(self, network: NetworkT, decay: float) -> None:
        super().__init__()
        self.module = copy.deepcopy(network).eval().requires_grad_(requires_grad=False)
        self._decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self, network: NetworkT) -> None:
        """Take the weights after a step into the average."""
        keep = min(self._decay, (1.0 + self.steps) / (10.0 + self.steps)) if self.steps else 0.0
        means, values = [], []
        for mean, value in zip(self.module.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                means.append(mean)
                values.append(value)
            else:
                mean.copy_(value)
        torch._foreach_lerp_(means, values, 1.0 - keep)
        self.steps += 1


class QueryModule(lightning.LightningModule, Generic[NetworkT]):
    """A network under training with averaged weights, a time-aware schedule and a guard against NaN."""

    def __init__(self, network: NetworkT, training: TrainingConfig) -> None:
        super().__init__()
        self.network = network
        self.training_config = training
        self.averaged = Average(network, training.ema_decay)
        self._unchecked: deque[tuple[int, Tensor]] = deque()
        self.last_loss = math.nan
        self._elapsed_s = self._since_start_s = 0.0
        self._started_s = time.monotonic()
        self.stop_request = StopRequest()
        self.is_stop_requested = False
        self._is_other_optimizer = False

    @property
    def average(self) -> NetworkT:
        """The network with averaged weights, in eval mode."""
        return self.averaged.module

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
        self._unchecked.append((self.global_step, loss.detach()))
        self._check_losses(left=_STEPS_AHEAD if loss.is_cuda else 0)
        self.log("loss", loss, prog_bar=True)
        self.log("minutes", self.elapsed_s / 60.0)
        return loss

    def _check_losses(self, left: int) -> None:
        """Stop where a loss is not a number; the last ones may wait, so that a GPU need not be waited for."""
        while len(self._unchecked) > left:
            step, loss = self._unchecked.popleft()
            self.last_loss = float(loss)
            if not math.isfinite(self.last_loss):
                raise DataError(
                    f"The loss became {self.last_loss} at step {step}. Lower the learning rate and go on from the last "
                    "checkpoint."
                )

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Take a step and average the weights at once: a checkpoint written after this step holds both."""
        super().optimizer_step(*arguments, **named)
        self.averaged.update(self.network)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_index: int) -> None:
        """Stop when the time is used up."""
        if self.is_time_up:
            self.trainer.should_stop = True

    @property
    def elapsed_s(self) -> float:
        """Seconds of training, with those before the last checkpoint, at the beginning of the last step."""
        return self._elapsed_s + self._since_start_s

    @property
    def is_time_up(self) -> bool:
        """Whether this step is the last because the minutes are used up."""
        minutes = self.training_config.minutes
        return minutes is not None and self.elapsed_s >= 60.0 * minutes

    def on_train_start(self) -> None:
        """Start the clock; where a checkpoint was loaded, let the settings of now hold."""
        self._started_s = time.monotonic()
        rate = self.training_config.learning_rate
        optimizer = cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False))
        schedule = cast(torch.optim.lr_scheduler.LambdaLR, self.lr_schedulers())
        for group, decay in zip(optimizer.param_groups, self._decays, strict=True):
            group["weight_decay"] = decay
        if all(before == rate for before in schedule.base_lrs) and not self._is_other_optimizer:
            return
        schedule.base_lrs = [rate for _ in schedule.base_lrs]
        for group in optimizer.param_groups:
            group["initial_lr"], group["lr"] = rate, rate * self.rate_factor(self.global_step)

    def on_train_batch_start(self, batch: Any, batch_index: int) -> None:
        """Read the clock; several processes go by that of the first, so that all stop after the same step."""
        now = time.monotonic() - self._started_s, self.stop_request.signal_number is not None
        now = self.trainer.strategy.broadcast(now) if self.trainer.world_size > 1 else now
        self._since_start_s, self.is_stop_requested = now

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the time used so far, once all losses are known to be numbers."""
        self._check_losses(left=0)
        checkpoint["elapsed_s"] = self.elapsed_s
        checkpoint["averaged_steps"] = self.averaged.steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take up the time used before; what another optimizer knew is left behind."""
        self._elapsed_s = float(checkpoint["elapsed_s"])
        self.averaged.steps = int(checkpoint.get("averaged_steps", checkpoint["global_step"]))
        checkpoint["state_dict"].pop("averaged.n_averaged", None)  # of checkpoints before
        is_muon = "orthogonal" in checkpoint["optimizer_states"][0]["param_groups"][0]
        self._is_other_optimizer = is_muon != (self.training_config.optimizer == "muon")
        if self._is_other_optimizer:
            checkpoint["optimizer_states"] = []

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
        self._decays = [group["weight_decay"] for group in optimizer.param_groups]
        # A bound method would go into the checkpoint with all it is bound to.
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self.rate_factor(step))  # noqa: PLW0108
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def check_device(config: TrainingConfig) -> torch.device:
    """Return where to train.

    Raises:
        ConfigError: the device is not there.
    """
    try:
        return choose_device(config.device)
    except DeviceError as error:
        raise ConfigError(
            f"The device '{config.device}' is not there for PyTorch {torch.__version__}. Set device=auto, or install "
            "a PyTorch that knows it."
        ) from error


def precision_on(device: torch.device, config: TrainingConfig) -> str:
    """Return Lightning's name of the precision: on a GPU, auto is bfloat16 where its units have it.

    On a processor it is bfloat16 where that runs a convolution and a product at least 1.2 times as fast as float32.
    """
    match config.precision:
        case "float32":
            return "32-true"
        case "bfloat16":
            return "bf16-mixed"
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    return "bf16-mixed" if device.type == "cpu" and _is_bfloat16_faster() else "32-true"


def _is_bfloat16_faster() -> bool:
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
    return seconds[torch.float32] > 1.2 * seconds[torch.bfloat16]


def is_begun(folder: Path) -> bool:
    """Tell whether a training has left a checkpoint to go on from."""
    return (folder / LAST_NAME).is_file()


def is_finished(folder: Path, config: TrainingConfig, output: Path) -> bool:
    """Tell whether a run is as long as it is to be, and its weights were written after its last step."""
    record = read_run(folder)
    if record is None or record.finished_step is None or not output.is_dir() or not is_begun(folder):
        return False
    checkpoint = _read_checkpoint(folder)
    return _has_nothing_left(checkpoint, config) and checkpoint["global_step"] == record.finished_step


def last_step(folder: Path) -> int:
    """Return the step of the last checkpoint, 0 where there is none."""
    return int(_read_checkpoint(folder)["global_step"]) if is_begun(folder) else 0


def _read_checkpoint(folder: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(folder / LAST_NAME, map_location="cpu", weights_only=True, mmap=True)
    checkpoint["state_dict"].pop("averaged.n_averaged", None)  # of checkpoints before
    return checkpoint


def _has_nothing_left(checkpoint: dict[str, Any], config: TrainingConfig) -> bool:
    is_time_up = config.minutes is not None and checkpoint["elapsed_s"] >= 60.0 * config.minutes
    return checkpoint["global_step"] >= config.steps or is_time_up or is_out_of_patience(checkpoint, config)


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
    """Train to the end, going on from ``folder/last.ckpt`` where there is one.

    Args:
        module: the network with its loss.
        items: step s takes those from s * batch_size on.
        folder: for checkpoints and the log (metrics.csv).
        progress: called after each step.

    Returns:
        The averaged network, in eval mode: as it was at the best validation, where there is a validation side.

    Raises:
        ConfigError: the device is not there.
        DataError: the loss became NaN, or an item cannot be made.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was written.
    """
    config = module.training_config
    device = check_device(config)
    keep_freed_memory()
    done = last_step(folder)
    lightning.seed_everything(config.seed + done, verbose=False)
    if not (is_begun(folder) and _has_nothing_left(_read_checkpoint(folder), config)):
        _fit(module, items, folder, progress, device, done)
    elif not (folder / BEST_NAME).is_file():
        module.load_state_dict(_read_checkpoint(folder)["state_dict"])
    if (folder / BEST_NAME).is_file():
        module.averaged.module.load_state_dict(torch.load(folder / BEST_NAME, map_location="cpu", weights_only=True))
    return module.average.eval()


def _fit(
    module: QueryModule[NetworkT],
    items: Items,
    folder: Path,
    progress: Progress,
    device: torch.device,
    done: int,
) -> None:
    config, crowd, on_gpu = module.training_config, Crowd.here(), device.type == "cuda"
    if on_gpu:
        torch.set_float32_matmul_precision("high")  # TF32
    trainer = lightning.Trainer(
        max_steps=config.steps,
        max_epochs=-1,
        accelerator=device.type,
        devices=crowd.local if crowd.size > 1 else 1,
        num_nodes=crowd.size // crowd.local,
        strategy=DDPStrategy(timeout=_GROUP_TIMEOUT) if crowd.size > 1 else "auto",
        precision=precision_on(device, config),  # type: ignore[arg-type]
        benchmark=on_gpu,
        gradient_clip_val=config.gradient_norm,
        logger=[
            CSVLogger(folder, name="log", version=f"step{done}", flush_logs_every_n_steps=50),
            TensorBoardLogger(folder, name="tensorboard", version=f"step{done}"),
        ],
        log_every_n_steps=25,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[
            Validation(folder, config),
            Report(progress, config),
            module.stop_request,
            Checkpoints(folder, config),
        ],
    )
    loader = item_loader(items, done, config, crowd, pinned=on_gpu)
    last = folder / LAST_NAME
    try:
        with module.stop_request.catching():
            trainer.fit(module, loader, ckpt_path=last if is_begun(folder) else None, weights_only=True)
            write_checkpoint(trainer, last)
    except QuerysepError as error:
        raise _without_trace(error) from error
    except OSError as error:  # of the log, mostly
        if error.errno is None:  # not the system's
            raise
        raise output_error(last, error) from error
    except SystemExit as error:  # Lightning's, after the second Ctrl-C
        raise KeyboardInterrupt from error
    number = module.stop_request.signal_number
    if number is not None:
        said = f"stopped after step {trainer.global_step}; '{last}' is written. The same command goes on from there."
        raise Interrupted("" if crowd.rank else said, number)


def keep_freed_memory() -> None:
    """Let glibc keep large blocks that were freed: it would give them back, and clear each page when it is used again.

    A mixture's rendering takes two to five times as long with that (`benchmarks/rendering.py`).
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**31 - 1)


def _without_trace(error: QuerysepError) -> QuerysepError:
    """Return an error as it was in the process that prepares items: PyTorch puts the whole trace before it."""
    found = re.search(r"^querysep\.errors\.\w+: (.*)\Z", str(error), re.MULTILINE | re.DOTALL)
    return type(error)(found[1].strip()) if found else error
