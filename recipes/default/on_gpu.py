"""Train the separator where a step takes milliseconds: python on_gpu.py FOLDER --preset P --start WEIGHTS -o OUT.

FOLDER is unpacked (``packed.py``). The samples lie in the GPU's memory; speed, colour, place, room and level of every
segment are made there, for a whole batch at once, in the ways and shares of ``querysep.training.augment``, where
``querysep train separator`` makes them one by one on the processor, some 200 mixtures a second on each core. Loss,
optimiser and plans of the mixtures are the package's own. Writes the averaged weights at the best look at the
validation side and at the end, and a log, into OUT at every look.
"""

import argparse
import csv
import itertools
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from packed import WAVES, read_packed
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from querysep.model import load_preset
from querysep.separation.build import build_separator
from querysep.separation.network import SeparatorNetwork
from querysep.training.config import SeparatorTraining
from querysep.training.muon import Muon
from querysep.training.separator import SeparatorModule
from querysep.training.separator_items import SeparatorItems, validation_items

REPEAT_SHARE = 0.35  # as in separator_items
VALIDATED = 200
ROWS = 32  # segments are rendered in multiples of it, so that the transforms meet few sizes
KNOTS, CURVE_DB = 6, 8.0  # as in augment.equalise
DECAY_S, WET_DB = (0.1, 0.8), (-18.0, 0.0)  # as in augment.place_in_room

Batch = tuple[Tensor, Tensor, Tensor, Tensor]


class Plans(IterableDataset[Batch]):
    """Batches of plans: anchors (batch, 2 + source) as in ``Mix.item``, levels (batch, source), conditions, wanted."""

    def __init__(self, items: SeparatorItems, training: SeparatorTraining) -> None:
        self._items, self._training = items, training

    def __iter__(self) -> Iterator[Batch]:
        """Draw without end; each worker has batches of its own."""
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        size, sources = self._training.batch_size, 1 + len(self._training.source_shares)
        for number in itertools.count(first, step):
            anchors = torch.full((size, 2 + sources), -1)
            levels_db = torch.zeros(size, sources)
            rng = np.random.default_rng([self._training.seed, 5, number])
            plans = [self._items.plan(rng) for _ in range(size)]
            for row, plan in enumerate(plans):
                anchors[row, : 2 + len(plan.chosen)] = torch.tensor([*plan.asked, *plan.chosen])
                levels_db[row, : len(plan.chosen)] = torch.tensor(plan.levels_db)
            conditions, wanted = (
                np.stack([getattr(plan, name) for plan in plans]) for name in ("conditions", "wanted")
            )
            yield anchors, levels_db, torch.from_numpy(conditions), torch.from_numpy(wanted)


class Sounds:
    """The anchors' samples on a device, and the ways they are heard.

    Args:
        waves: shape (anchor, time), int16.
        sounding: shape (anchor,), samples that are not padding.
        sample_rate: in Hz.
        training: shares.
    """

    def __init__(self, waves: Tensor, sounding: Tensor, sample_rate: int, training: SeparatorTraining) -> None:
        self._flat, self._time = waves.flatten(), waves.shape[1]
        self._sounding, self._rate, self._training = sounding, sample_rate, training
        self._size = 3 * 2 ** math.ceil(math.log2((self._time + DECAY_S[1] * sample_rate) / 3))
        bins = self._size // 2 + 1
        position = torch.log2(torch.linspace(1.0, 64.0, bins)) / 6.0 * (KNOTS - 1)
        far = (position[None] - torch.arange(KNOTS)[:, None]).abs()
        self._curves = (1.0 - far).clamp(min=0.0).to(waves.device)  # (knot, bin)

    def segments(self, anchors: Tensor, levels_db: Tensor) -> Tensor:
        """Return the segments of mixtures, shape (batch, source, time), each as loud as the first and then its level.

        Args:
            anchors: shape (batch, source), on the processor; -1 where there is none.
            levels_db: same shape.
        """
        device = self._flat.device
        used = (anchors.flatten() >= 0).nonzero()[:, 0]
        rows = functional.pad(anchors.flatten()[used], (0, -len(used) % ROWS))
        heard = self._render(rows.to(device, non_blocking=True))[: len(used)]
        segments = heard.new_zeros(anchors.numel(), self._time)
        segments[used.to(device, non_blocking=True)] = heard
        segments = segments.reshape(*anchors.shape, self._time)
        power = segments.square().mean(dim=2)
        gain = (power[:, :1] / power.clamp(min=1e-8)).sqrt().clamp(0.02, 50.0)
        gain = gain * 10.0 ** (levels_db.to(device, non_blocking=True) / 20.0)
        gain[:, 0] = 1.0
        return segments * gain[:, :, None]

    def _render(self, rows: Tensor) -> Tensor:
        """Return anchors at a speed, place, colour and in a room of chance, shape (row, time)."""
        spectrum = torch.fft.rfft(self._placed(rows), self._size)
        coloured = (torch.rand(len(rows), 1, device=rows.device) < 0.5) * CURVE_DB
        knots_db = coloured * (2.0 * torch.rand(len(rows), KNOTS, device=rows.device) - 1.0)
        spectrum = spectrum * 10.0 ** (knots_db @ self._curves / 20.0)
        if self._training.room_share:
            spectrum = spectrum * (1.0 + torch.fft.rfft(self._tails(len(rows)), self._size))
        heard: Tensor = torch.fft.irfft(spectrum, self._size)[:, : self._time]
        return heard

    def _placed(self, rows: Tensor) -> Tensor:
        """Change speed and place in the segment, as ``augment.vary`` and ``placing.place`` do."""
        device, time_ = rows.device, self._time

        def chance(least: float = 0.0, most: float | Tensor = 1.0) -> Tensor:
            return least + (most - least) * torch.rand(len(rows), 1, device=device, dtype=torch.float64)

        count = self._sounding[rows][:, None]
        speed = torch.where(chance() < 0.5, 2.0 ** chance(-1 / 3, 1 / 3), 1.0)
        length = (count / speed).round().clamp(min=1.0)
        start = (chance() * ((length - time_).abs() + 1.0)).floor()
        at = torch.arange(time_, device=device)[None]
        period = length + (chance() * length).floor()
        repeated = (at - (chance() * period).floor()).remainder(period)
        alone = torch.where(chance() < REPEAT_SHARE, repeated, at - start)
        played = torch.where(length >= time_, at + start, alone)
        heard = (played >= 0) & (played < length)
        position = torch.minimum((played * speed).clamp(min=0.0), count - 1.0)
        low = position.long()
        high = torch.minimum(low + 1, count - 1)
        share = (position - low).float()
        first = rows[:, None] * time_
        one, other = (self._flat[first + place].float() for place in (low, high))
        return torch.lerp(one, other, share) * heard / 32768.0

    def _tails(self, count: int) -> Tensor:
        """Return the reverberation of made-up rooms, shape (row, time); nothing for those that are in none."""
        device = self._flat.device
        chance = torch.rand(4, count, 1, device=device)
        decay_s = DECAY_S[0] + (DECAY_S[1] - DECAY_S[0]) * chance[0]
        seconds = torch.arange(round(DECAY_S[1] * self._rate), device=device)[None] / self._rate
        tail = torch.randn(count, seconds.shape[1], device=device) * 10.0 ** (-3.0 * seconds / decay_s)
        tail = tail * (seconds < decay_s)
        width = 1.0 + (5.0 * chance[1]).floor()
        kernels = (torch.arange(5, device=device)[None] < width).float()[:, None]
        tail = functional.conv1d(tail[None], kernels, padding=2, groups=count)[0]
        level = 10.0 ** ((WET_DB[0] + (WET_DB[1] - WET_DB[0]) * chance[2]) / 20.0)
        level = level * (chance[3] < self._training.room_share)
        return tail * level / (tail.square().sum(dim=1, keepdim=True) + 1e-12).sqrt()


class Run:
    """One training: its module, optimiser, clock and files."""

    def __init__(self, module: SeparatorModule, training: SeparatorTraining, out: Path) -> None:
        self.module, self._training, self._out = module, training, out
        self._optimizer = Muon(module.network.parameters(), training.learning_rate, training.weight_decay)
        pairs = zip(module.average.state_dict().values(), module.network.state_dict().values(), strict=True)
        self._pairs = [(mean, value) for mean, value in pairs if mean.is_floating_point()]
        self._best = -math.inf
        out.mkdir(parents=True, exist_ok=True)

    def step(self, number: int, done: float, batch: Batch) -> Tensor:
        """Take a step and return the loss; ``done`` is the share of the time that is used up."""
        training = self._training
        fall = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
        rate = training.learning_rate * min((number + 1) / training.warmup_steps, fall)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(batch[0].device.type, torch.bfloat16):
            loss = self.module.batch_loss(batch)
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.module.network.parameters(), training.gradient_norm)
        self._optimizer.step()
        keep = min(training.ema_decay, (1.0 + number) / (10.0 + number))
        means, values = ([pair[which] for pair in self._pairs] for which in (0, 1))
        torch._foreach_lerp_(means, values, 1.0 - keep)
        return loss.detach()

    def look(self, row: dict[str, float]) -> None:
        """Look at the validation side; log, and keep the averaged weights."""
        row |= self.module.validate()
        path = self._out / "log.csv"
        fresh = not path.is_file()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        print(json.dumps(row), flush=True)
        weights = {name: _small(value) for name, value in self.module.average.state_dict().items()}
        torch.save(weights, self._out / "last.pt")
        if row["validation_sdri_db"] > self._best:
            self._best = row["validation_sdri_db"]
            torch.save(weights, self._out / "best.pt")


def _small(value: Tensor) -> Tensor:
    """Return float16 where it can hold all values."""
    half = value.detach().cpu().half() if value.is_floating_point() else value.cpu()
    return half if bool(torch.isfinite(half.float()).all()) else value.detach().cpu()


def train(folder: Path, network: SeparatorNetwork, training: SeparatorTraining, out: Path, every_s: float) -> None:
    """Train for ``training.minutes``, on the GPU where there is one.

    Args:
        folder: unpacked.
        network: with the weights to begin from.
        training: settings; ``minutes`` must be given.
        out: for weights and log.
        every_s: seconds between two looks at the validation side.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = torch.backends.cuda.matmul.allow_tf32 = True
    torch.manual_seed(training.seed)
    plain, varied = read_packed(folder)
    items = SeparatorItems(varied, training)
    plans = DataLoader(
        Plans(items, training),
        batch_size=None,
        num_workers=training.workers,
        multiprocessing_context="fork" if training.workers else None,
        prefetch_factor=8 if training.workers else None,
    )
    batches = iter(plans)  # forks before the GPU is in use
    next(batches)
    waves = torch.from_numpy(np.load(folder / WAVES)).to(device)
    sounding = torch.tensor([anchor.sounding for anchor in varied.anchors], device=device)
    sounds = Sounds(waves, sounding, varied.sample_rate, training)
    module = SeparatorModule(network, training, validation_items(plain, VALIDATED, seed=0), items.rivals).to(device)
    module.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    module.network.train()
    run = Run(module, training, out)
    assert training.minutes is not None
    started, looked, losses = time.monotonic(), 0.0, []
    for number, (anchors, levels_db, conditions, wanted) in enumerate(batches):
        elapsed = time.monotonic() - started
        segments = sounds.segments(anchors[:, 2:], levels_db)
        there = [one.to(device, non_blocking=True) for one in (conditions, wanted, anchors)]
        losses.append(run.step(number, elapsed / (60.0 * training.minutes), (segments, *there)))
        over = elapsed >= 60.0 * training.minutes
        if over or elapsed - looked >= every_s:
            looked = elapsed
            loss = float(torch.stack(losses).mean())
            losses = []
            if not math.isfinite(loss):
                raise SystemExit(f"The loss became {loss} at step {number}.")
            run.look({"step": number + 1, "minutes": elapsed / 60.0, "loss": loss})
        if over:
            break


def main() -> None:
    """Train one network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--preset", default="default")
    parser.add_argument("--start", type=Path, help="state dict to begin from")
    parser.add_argument("--look", type=float, default=45.0, help="seconds between two looks")
    parser.add_argument("--set", action="append", default=[], help="training setting, KEY=JSON")
    parser.add_argument("-o", dest="out", type=Path, required=True)
    arguments = parser.parse_args()
    changes = {key: json.loads(value) for key, value in (one.split("=", 1) for one in arguments.set)}
    network = build_separator(load_preset(arguments.preset).separator)
    if arguments.start:
        network.load_state_dict(torch.load(arguments.start, map_location="cpu", weights_only=True))
    train(arguments.folder, network, SeparatorTraining.model_validate(changes), arguments.out, arguments.look)


if __name__ == "__main__":
    main()
