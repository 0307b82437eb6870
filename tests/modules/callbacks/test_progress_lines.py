import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from abair_pl.batch import RestorationBatch
from abair_pl.modules.callbacks.progress_lines import ProgressLines
from abair_pl.modules.pretrain import PretrainModule

Fit = Callable[..., L.Trainer]


class Run:
    """A run by hand: a clock, a trainer's state, and the lines that are printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.now, self.capsys, self.lines = 1000.0, capsys, ProgressLines()
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        self.trainer: Any = SimpleNamespace(
            global_step=0, max_steps=100, is_global_zero=True, progress_bar_callback=None
        )
        self.trainer.callback_metrics = {"train/loss": torch.tensor(0.98765)}
        self.module: Any = SimpleNamespace(phase="pretrain")

    def step(self, seconds: float, count: int = 1) -> list[str]:
        """Do steps, of that many seconds each, and give what is printed."""
        for _ in range(count):
            self.now += seconds
            self.trainer.global_step += 1
            self.lines.on_train_batch_end(self.trainer, self.module)
        return self.capsys.readouterr().out.splitlines()

    def start(self) -> None:
        self.lines.on_train_start(self.trainer, self.module)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    made = Run(monkeypatch, capsys)
    made.start()
    return made


def test_a_line_a_minute_says_how_far_a_run_is(run: Run) -> None:
    assert run.step(500.0) == [], "the first step starts loaders and compiles"
    assert run.step(10.0, 5) == []
    assert run.step(10.0) == ["pretrain: step 7 of 100, loss 0.988, 0.1 steps/s, 0:15:30 left"]
    assert run.step(30.0) == []
    assert run.step(30.0) == ["pretrain: step 9 of 100, loss 0.988, 0.0333 steps/s, 0:45:30 left"]


def test_a_resumed_run_counts_its_own_steps(run: Run) -> None:
    run.trainer.global_step = 50
    run.start()
    run.step(1.0)
    assert run.step(60.0) == ["pretrain: step 52 of 100, loss 0.988, 0.0167 steps/s, 0:48:00 left"]


def test_validations_are_left_out(run: Run) -> None:
    run.step(1.0)
    run.lines.on_validation_start(run.trainer, run.module)
    run.now += 3600.0
    run.lines.on_validation_end(run.trainer, run.module)
    assert run.step(59.0) == []
    assert run.step(1.0) == ["pretrain: step 3 of 100, loss 0.988, 0.0333 steps/s, 0:48:30 left"]


def test_batches_that_are_accumulated_are_no_steps(run: Run) -> None:
    run.step(1.0)
    run.now += 600.0
    run.lines.on_train_batch_end(run.trainer, run.module)
    assert run.step(0.0) == ["pretrain: step 2 of 100, loss 0.988, 0.00167 steps/s, 16:20:00 left"]


@pytest.mark.parametrize(
    ("bar", "terminal", "first", "printed"),
    [
        (True, True, True, False),
        (True, False, True, True),
        (False, True, True, True),
        (False, False, True, True),
        (False, False, False, False),
    ],
)
def test_lines_stand_in_for_a_bar_that_nobody_sees(
    bar: bool, terminal: bool, first: bool, printed: bool, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.trainer.progress_bar_callback = Callback() if bar else None
    run.trainer.is_global_zero = first
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    run.step(1.0)
    assert bool(run.step(60.0)) == printed


def test_a_real_run_has_what_a_line_needs(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    passing_time: Callable[[float], Callback],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit(module, batches, callbacks=[passing_time(60.0)], max_steps=3)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("pretrain: ")]
    assert [line.split(",")[0] for line in lines] == ["pretrain: step 2 of 3", "pretrain: step 3 of 3"]
    assert lines[1].endswith("0.0167 steps/s, 0:00:00 left")
