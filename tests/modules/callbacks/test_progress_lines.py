import sys
from collections.abc import Callable

import lightning as L
import pytest
from lightning.pytorch.callbacks import Callback

from abair_pl.batch import RestorationBatch
from abair_pl.modules.pretrain import PretrainModule

Fit = Callable[..., L.Trainer]


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]


def test_a_line_a_minute_says_how_far_a_run_is(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    passing_time: Callable[[float], Callback],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit(module, batches, callbacks=[passing_time(30.0)], max_steps=3)
    (line,) = lines(capsys)
    first, loss, rate, left = line.split(", ")
    assert first == "step 2 of 3"
    assert float(loss.removeprefix("loss ")) > 0.0
    assert (rate, left) == ("0.033 steps/s", "0:00:30 left")


def test_a_short_run_is_silent(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    passing_time: Callable[[float], Callback],
    capsys: pytest.CaptureFixture[str],
) -> None:
    fit(module, batches, callbacks=[passing_time(10.0)], max_steps=3)
    assert lines(capsys) == []


def test_a_bar_in_a_terminal_is_enough(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    passing_time: Callable[[float], Callback],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    fit(module, batches, callbacks=[passing_time(100.0)], max_steps=3, enable_progress_bar=True)
    assert lines(capsys) == []
