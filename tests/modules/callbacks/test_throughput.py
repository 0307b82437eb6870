import time
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import IterableDataset

from abair_pl.batch import RestorationBatch
from abair_pl.modules.callbacks import ThroughputMonitor
from abair_pl.modules.callbacks.throughput import PARTS
from abair_pl.modules.pretrain import PretrainModule
from abair_pl.stopwatch import Stopwatch, TimedLoader

Fit = Callable[..., L.Trainer]


class Recorder(Callback):
    """Keeps what reaches the loggers, by step."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        self.rows.append({name: float(value) for name, value in trainer.logged_metrics.items()})


class Slow(IterableDataset[RestorationBatch]):
    """A second for each batch."""

    def __init__(self, batches: list[RestorationBatch], spend: Callable[[float], None]) -> None:
        self.batches, self.spend = batches, spend

    def __iter__(self) -> Iterator[RestorationBatch]:
        for batch in self.batches:
            self.spend(1.0)
            yield batch


class SlowData(L.LightningDataModule):
    """As the package's own marks its parts, with times that only a clock of the test's knows."""

    def __init__(self, batches: list[RestorationBatch], spend: Callable[[float], None]) -> None:
        super().__init__()
        self.batches, self.spend, self.stopwatch = batches, spend, Stopwatch()

    def provenance(self) -> dict[str, Any]:
        return {}

    def train_dataloader(self) -> Any:
        return TimedLoader(Slow(self.batches, self.spend), batch_size=None, stopwatch=self.stopwatch, part="data")

    def val_dataloader(self) -> Any:
        return TimedLoader(Slow(self.batches[:1], self.spend), batch_size=None, stopwatch=self.stopwatch, part=None)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.trainer is not None and self.trainer.training:
            self.stopwatch.enter("synthesis")
            self.spend(2.0)
        return batch


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass on the host's clock; nothing else does."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def pass_by(seconds: float) -> None:
        now[0] += seconds

    return pass_by


class Spender(Callback):
    """Lets time pass in gradient, optimizer, what comes after them, and validation."""

    def __init__(self, spend: Callable[[float], None]) -> None:
        self.spend = spend

    def on_after_backward(self, *_: Any) -> None:
        self.spend(4.0)

    def on_before_zero_grad(self, trainer: L.Trainer, *_: Any) -> None:
        self.spend(0.5)

    def on_train_batch_end(self, *_: Any) -> None:
        self.spend(0.5)

    def on_validation_batch_start(self, *_: Any) -> None:
        self.spend(1000.0)


def test_the_parts_of_a_step_are_measured(
    module: PretrainModule,
    batches: list[RestorationBatch],
    make_trainer: Fit,
    spend: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 10 seconds a step the loader has 1, synthesis 2, loss and gradient 4.5, and the rest 0.5; validation none."""
    clip = module.configure_gradient_clipping

    def slow_clip(*given: Any, **named: Any) -> None:
        spend(2.0)
        clip(*given, **named)

    monkeypatch.setattr(module, "configure_gradient_clipping", slow_clip)
    recorder = Recorder()
    options: dict[str, Any] = {"max_steps": 6, "val_check_interval": 2, "check_val_every_n_epoch": None}
    trainer = make_trainer(callbacks=[recorder, Spender(spend)], log_every_n_steps=2, **options)
    trainer.fit(module, datamodule=SlowData(batches * 2, spend))
    last = recorder.rows[-1]
    shares = {part: last[f"time/{part}"] for part in PARTS}
    expected = {"data": 1.0, "synthesis": 2.0, "forward_backward": 4.5, "optimizer": 2.0, "other": 0.5}
    assert shares == pytest.approx({part: seconds / 10.0 for part, seconds in expected.items()})
    assert last["train/images_per_second"] == pytest.approx(3 / 10.0)


def test_shares_sum_to_one_and_rates_are_logged(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit
) -> None:
    logged = fit(module, batches).logged_metrics
    assert sum(float(logged[f"time/{part}"]) for part in PARTS) == pytest.approx(1.0)
    assert float(logged["time/forward_backward"]) > 0
    assert logged["train/images_per_second"] > 0
    assert 0 < logged["train/learning_rate"] <= 1e-2
    assert "gpu/memory_gib" not in logged


@pytest.mark.parametrize(("every", "expected"), [(2, 2), (0, 0)])
def test_it_measures_when_loggers_are_fed(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    every: int,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With 0, Lightning logs nothing."""
    read = Stopwatch.read
    readings: list[dict[str, float]] = []
    monkeypatch.setattr(Stopwatch, "read", lambda self: readings.append(read(self)) or readings[-1])  # type: ignore[func-returns-value]
    fit(module, batches[:1] * 5, log_every_n_steps=every)
    assert len(readings) == expected


def test_memory_of_a_gpu_is_the_most_since_the_last_time(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[Any] = []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", resets.append)
    trainer: Any = SimpleNamespace(optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}])])
    measures = ThroughputMonitor()._measures(trainer, torch.device("cuda", 0))
    assert measures == {"train/learning_rate": 0.1, "gpu/memory_gib": 1.5}
    assert len(resets) == 1


class Waiting(Stopwatch):
    """Ten seconds, of which a share went by in waiting for data."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def read(self) -> dict[str, float]:
        return {"data": 10.0 * self.share, "forward_backward": 10.0 * (1.0 - self.share)}


def test_starvation_is_said_above_a_limit_and_again_where_it_is_a_tenth_more() -> None:
    monitor, trainer = ThroughputMonitor(), SimpleNamespace(optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}])])
    said = []
    for percent in (10, 29, 31, 40, 31, 5, 42, 51, 53, 60, 99):
        monitor.images, monitor.stopwatch = 3, Waiting(percent / 100)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            monitor._measures(cast("Any", trainer), torch.device("cpu"))
        said += [(percent, str(each.message)) for each in caught]
    assert [percent for percent, _ in said] == [31, 42, 53, 99]
    assert said[1][1].startswith("42% of the last 10 s went by waiting for data; give the loader more --data.workers")


@pytest.mark.parametrize(("seconds", "found"), [(2.0, 0), (6.0, 1)], ids=["fed", "starved"])
def test_a_run_that_waits_for_its_loader_is_told_once(
    module: PretrainModule,
    batches: list[RestorationBatch],
    make_trainer: Fit,
    spend: Callable[[float], None],
    seconds: float,
    found: int,
) -> None:
    """Gradient and the rest take 7.5 seconds a step."""
    slow = SlowData(batches * 3, lambda _: spend(seconds))
    slow.on_after_batch_transfer = lambda batch, dataloader_idx: batch  # type: ignore[method-assign]
    trainer = make_trainer(callbacks=[Spender(lambda part: spend(1.5 * part))], max_steps=8, limit_val_batches=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.fit(module, datamodule=slow)
    assert len([each for each in caught if "went by waiting for data" in str(each.message)]) == found
