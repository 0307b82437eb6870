from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from abair_pl.batch import RestorationBatch
from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.pretrain import PretrainModule


class WeightRecorder(Callback):
    """Keeps the weights after each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.steps.append({name: value.detach().clone() for name, value in pl_module.named_parameters()})


def test_the_moving_average_warms_up_and_is_what_remains(
    nano: str,
    fast: OptimizationConfig,
    batches: list[RestorationBatch],
    fit: Callable[..., L.Trainer],
    tmp_path: Path,
) -> None:
    decay = 0.28
    module = PretrainModule(tmp_path / "bundle", nano, ["rain", "haze"], optimization=replace(fast, ema_decay=decay))
    recorder = WeightRecorder()
    fit(module, batches[:1] * 5, callbacks=[recorder])
    first, *others = recorder.steps
    for name, value in module.named_parameters():
        average = first[name]
        for count, step in enumerate(others, start=1):
            share = min(decay, (1 + count) / (10 + count))  # 2/11, 1/4, then the decay itself
            average = share * average + (1 - share) * step[name]
        torch.testing.assert_close(value.detach(), average)
        assert not torch.equal(value, others[-1][name])


def test_without_decay_the_last_weights_remain(
    module: PretrainModule, batches: list[RestorationBatch], fit: Callable[..., L.Trainer]
) -> None:
    recorder = WeightRecorder()
    fit(module, batches, callbacks=[recorder])
    assert all(torch.equal(value, recorder.steps[-1][name]) for name, value in module.named_parameters())
