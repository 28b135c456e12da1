"""A training that is cut, stopped, changed and made longer; several processes that wait for each other."""

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from training.toy import Line, Points

from querysep.errors import ConfigError, DataError, Interrupted
from querysep.progress import Progress, silent
from querysep.training import batches
from querysep.training.batches import signs_of_life, wait_for
from querysep.training.config import TrainingConfig
from querysep.training.runner import check_device, precision_on, run


class Clocked(Line):
    """Believes that every step takes half a minute."""

    @property
    def elapsed_s(self) -> float:
        return 30.0 * self.global_step


class Broken(Points):
    """Has no fifth batch."""

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        if 16 in indices:
            raise DataError("Clip 16 is broken. Mend it.")
        return super().batch(indices)


def _config(**settings: Any) -> TrainingConfig:
    base = {"batch_size": 4, "warmup_steps": 1, "workers": 0, "precision": "float32", "device": "cpu"}
    return TrainingConfig.model_validate({**base, **settings})


def _train(folder: Path, progress: Progress = silent, line: type[Line] = Line, **settings: Any) -> Line:
    torch.manual_seed(0)
    module = line(nn.Linear(3, 1), _config(**settings))
    run(module, Points(), folder, progress)
    return module


def _checkpoint(folder: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(folder / "last.ckpt", weights_only=True)
    return checkpoint


def _killed_at(step: int, seen: list[int], folder: Path) -> Progress:
    """Note what the last checkpoint was at each step, and end the training without a chance to write one."""

    def progress(done: float, total: float | None, what: str) -> None:
        seen.append(_checkpoint(folder)["global_step"] if (folder / "last.ckpt").is_file() else 0)
        if done == step:
            raise ZeroDivisionError

    return progress


@pytest.mark.parametrize(
    ("settings", "expected"), [({}, [0, 0, 2, 2, 4, 4, 6]), ({"checkpoint_steps": 3}, [0, 0, 2, 3, 3, 5, 6])]
)
def test_checkpoints_are_a_minute_apart(tmp_path: Path, settings: dict[str, int], expected: list[int]) -> None:
    seen: list[int] = []
    with pytest.raises(ZeroDivisionError):
        _train(tmp_path, _killed_at(len(expected), seen, tmp_path), Clocked, steps=100, **settings)
    assert seen == expected


def test_sigterm_ends_a_training_after_the_step(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def stop(done: float, total: float | None, what: str) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=r"stopped after step 3; '.*last\.ckpt' is written") as caught:
        _train(tmp_path, stop, steps=100)
    assert caught.value.signal_number == signal.SIGTERM
    assert _checkpoint(tmp_path)["global_step"] == 3
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_training_that_was_stopped_ends_where_one_in_one_go_does(tmp_path: Path) -> None:
    def stop(done: float, total: float | None, what: str) -> None:
        if done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        _train(tmp_path / "two", stop, steps=6)
    two, one = _train(tmp_path / "two", steps=6), _train(tmp_path / "one", steps=6)
    torch.testing.assert_close(two.average.weight, one.average.weight, rtol=0, atol=0)


def test_a_run_that_is_over_is_not_trained(tmp_path: Path) -> None:
    steps: list[float] = []
    first = _train(tmp_path, steps=3)
    second = _train(tmp_path, lambda done, total, what: steps.append(done), steps=3)
    assert steps == []
    torch.testing.assert_close(second.average.weight, first.average.weight, rtol=0, atol=0)
    _train(tmp_path, lambda done, total, what: steps.append(done), steps=5)
    assert steps == [4, 5]


@pytest.mark.parametrize(("old", "new"), [("adamw", "muon"), ("muon", "adamw")])
def test_another_optimizer_starts_afresh_and_everything_else_goes_on(tmp_path: Path, old: str, new: str) -> None:
    _train(tmp_path, steps=3, optimizer=old, learning_rate=1e-3)
    average = _checkpoint(tmp_path)["averaged_steps"]
    _train(tmp_path, steps=4, optimizer=new, learning_rate=1e-3)
    checkpoint = _checkpoint(tmp_path)
    assert checkpoint["averaged_steps"] == average + 1
    optimizer = checkpoint["optimizer_states"][0]
    assert ("orthogonal" in optimizer["param_groups"][0]) == (new == "muon")
    assert {float(state.get("step", 1)) for state in optimizer["state"].values()} == {1.0}
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == 4


def test_another_rate_and_decay_hold_from_the_next_step_on(tmp_path: Path) -> None:
    _train(tmp_path, steps=3, learning_rate=1e-2)
    before = _checkpoint(tmp_path)["state_dict"]["network.weight"]
    _train(tmp_path, steps=6, learning_rate=1e-5, weight_decay=0.5)
    checkpoint = _checkpoint(tmp_path)
    moved = (checkpoint["state_dict"]["network.weight"] - before).abs().max()
    assert 0 < moved < 3.5e-5
    groups = checkpoint["optimizer_states"][0]["param_groups"]
    assert [group["weight_decay"] for group in groups] == [0.5, 0.0]
    assert checkpoint["lr_schedulers"][0]["base_lrs"] == [1e-5, 1e-5]


def test_what_a_worker_cannot_read_is_said_without_its_trace(tmp_path: Path) -> None:
    module = Line(nn.Linear(3, 1), _config(workers=1, steps=9))
    with pytest.raises(DataError, match=r"^Clip 16 is broken\. Mend it\.$"):
        run(module, Broken(), tmp_path, silent)


def test_precision_goes_by_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    for has_units, wanted in ((True, "bf16-mixed"), (False, "32-true")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation, has=has_units: has)
        assert precision_on(torch.device("cuda"), _config(precision="auto")) == wanted
    assert precision_on(torch.device("mps"), _config(precision="auto")) == "32-true"
    assert precision_on(torch.device("cuda"), _config(precision="float32")) == "32-true"
    assert precision_on(torch.device("cpu"), _config(precision="bfloat16")) == "bf16-mixed"


def test_the_device_is_the_one_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert check_device(_config(device="cuda")).type == check_device(_config(device="auto")).type == "cuda"
    assert check_device(_config(device="cpu")).type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device 'cuda' is not there"):
        check_device(_config(device="cuda"))


def test_a_process_that_died_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_POLL_S", 0.01)
    (tmp_path / "alive-1").touch()
    with pytest.raises(DataError, match=r"Process 1 of 1 was to embed variations, .* no sign of life for 0\.05 s"):
        wait_for(lambda: False, "embed variations", rank=1, folder=tmp_path, patience_s=0.05)
    with pytest.raises(DataError, match="Process 2"):
        wait_for(lambda: False, "begin", rank=2, folder=tmp_path, patience_s=0.05)


def test_a_process_that_lives_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_POLL_S", 0.01)
    monkeypatch.setattr(batches, "_BEAT_S", 0.01)
    beats: set[int] = set()

    def has_beaten_often() -> bool:
        beats.add((tmp_path / "alive-0").stat().st_mtime_ns)
        return len(beats) > 5

    with signs_of_life(tmp_path):
        wait_for(has_beaten_often, "beat", rank=0, folder=tmp_path)
        count = threading.active_count()
    assert threading.active_count() == count - 1 and not list(tmp_path.iterdir())


class Diverging(Line):
    """Has a loss that is no number at the fourth step."""

    def batch_loss(self, batch: Any) -> Tensor:
        return super().batch_loss(batch) * (torch.nan if self.global_step == 3 else 1.0)


class Ahead(Diverging):
    """The same, on a device that is not waited for."""

    def _check_losses(self, left: int) -> None:
        super()._check_losses(left or (2 if self.global_step < 4 else 0))


@pytest.mark.parametrize("line", [Diverging, Ahead])
def test_a_loss_that_is_no_number_stops_with_its_step_and_leaves_no_checkpoint_of_it(
    tmp_path: Path, line: type[Line]
) -> None:
    with pytest.raises(DataError, match=r"The loss became nan at step 3\."):
        _train(tmp_path, steps=6, line=line, checkpoint_steps=2)
    checkpoint = _checkpoint(tmp_path)
    assert checkpoint["global_step"] == 2
    assert all(torch.isfinite(value).all() for value in checkpoint["state_dict"].values())
    again = _train(tmp_path, steps=3)
    assert again.averaged.steps == 3 and torch.isfinite(again.average.weight).all()


def test_a_checkpoint_of_before_is_taken_up(tmp_path: Path) -> None:
    _train(tmp_path, steps=2)
    checkpoint = _checkpoint(tmp_path)
    del checkpoint["averaged_steps"]
    checkpoint["state_dict"]["averaged.n_averaged"] = torch.tensor(2)
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert _train(tmp_path, steps=3).averaged.steps == 3
