"""The moving average of the weights."""

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor


class ExponentialMovingAverage(WeightAveraging):
    """Lightning's weight averaging, with a decay that warms up, so that short runs are not held back by their start.

    Args:
        decay: Of the average after many steps; step ``n`` uses ``min(decay, (1 + n) / (10 + n))``.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        super().__init__(use_buffers=False, multi_avg_fn=self._average)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Keep the average on the device of the training, to which the module itself has not been moved yet."""
        self._device = trainer.strategy.root_device
        super().setup(trainer, pl_module, stage)

    @torch.no_grad()
    def _average(self, averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        steps = float(count)
        share = 1.0 - min(self.decay, (1.0 + steps) / (10.0 + steps))
        trained = [pair for pair in zip(averaged, current, strict=True) if pair[1].is_floating_point()]
        torch._foreach_lerp_([pair[0] for pair in trained], [pair[1] for pair in trained], share)
