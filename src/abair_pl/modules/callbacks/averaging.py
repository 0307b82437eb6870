"""The moving average of the weights."""

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import AveragedModel


class ExponentialMovingAverage(WeightAveraging):
    """Lightning's weight averaging, with a decay that warms up, so that short runs are not held back by their start.

    Args:
        decay: Of the average after many steps; step ``n`` uses ``min(decay, (1 + n) / (10 + n))``.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        super().__init__(use_buffers=False)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Keep the average on the device of the training, to which the module itself has not been moved yet."""
        if stage == "fit":
            device = trainer.strategy.root_device
            self._average_model = AveragedModel(pl_module, device, multi_avg_fn=cast("Any", self._average))

    @property
    def averages(self) -> list[Tensor]:
        """The averages of the weights that are trained, in their order; none outside of training."""
        if self._average_model is None:
            return []
        return [parameter for parameter in self._average_model.module.parameters() if parameter.requires_grad]

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put the averages in place for what is saved, also where a checkpoint said that all steps were done."""
        self._copy_average_to_current(pl_module)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *arguments: Any) -> None:
        """Average, unless the step was skipped."""
        if pl_module.guard.state.skipped_in_a_row == 0:
            super().on_train_batch_end(trainer, pl_module, *arguments)

    @torch.no_grad()
    def _average(self, averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        steps = float(count)
        share = 1.0 - min(self.decay, (1.0 + steps) / (10.0 + steps))
        trained = [pair for pair in zip(averaged, current, strict=True) if pair[1].is_floating_point()]
        torch._foreach_lerp_([pair[0] for pair in trained], [pair[1] for pair in trained], share)
