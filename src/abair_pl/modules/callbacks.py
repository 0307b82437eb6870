"""What every run does beside its steps: average the weights, time itself, show a panel, write predictions."""

import time
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import BasePredictionWriter, Callback, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from abair_pl.palette import paint_labels


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


class ThroughputMonitor(Callback):
    """Logs the learning rate and ``train/images_per_second`` over all devices."""

    def __init__(self) -> None:
        self.started = 0.0
        self.images = 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count images; log every ``log_every_n_steps``."""
        if self.started:
            self.images += len(batch.clean) * trainer.world_size
        else:
            self.started = time.perf_counter()
        every = getattr(trainer, "log_every_n_steps", 50)
        if self.images and trainer.global_step % every == 0:
            now = time.perf_counter()
            rate = self.images / (now - self.started)
            lr = trainer.optimizers[0].param_groups[0]["lr"]
            pl_module.log_dict({"train/images_per_second": rate, "train/learning_rate": lr}, rank_zero_only=True)
            self.started, self.images = now, 0

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the time of validation out."""
        self.started, self.images = 0.0, 0


class PanelLogger(Callback):
    """At each validation, one fixed panel: a row for each degradation with clean, degraded, restored and labels.

    In phase I the labels are those that the segmentation head predicts. Goes to W&B and TensorBoard where they are the
    loggers; else to ``panels/`` in the log directory.
    """

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw and log."""
        log_dir = trainer.log_dir  # all ranks take part in this
        kept = getattr(pl_module, "panel", None)
        if kept is None or trainer.sanity_checking or not trainer.is_global_zero:
            return
        batch, restored, shown = kept
        labels = batch.labels[:, 0, 0]
        rows = [int((labels == label).nonzero()[0]) for label in labels.unique().tolist()]
        panel = draw_panel([(batch.clean[row], batch.degraded[row], restored[row], shown[row]) for row in rows])
        handled = False
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image("val/panel", [panel], step=trainer.global_step)
                handled = True
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("val/panel", panel, trainer.global_step, dataformats="HWC")
                handled = True
        if not handled and log_dir and trainer.loggers:
            folder = Path(log_dir, "panels")
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(panel).save(folder / f"step-{trainer.global_step:08d}.png")


def draw_panel(rows: list[tuple[Tensor, Tensor, Tensor, Tensor]]) -> NDArray[np.uint8]:
    """Put rows of clean, degraded, restored ``(3, H, W)`` and labels ``(H, W)`` into one 8-bit RGB image."""
    drawn = []
    for clean, degraded, restored, labels in rows:
        images = torch.cat([clean, degraded, restored], dim=2).float().clamp(0.0, 1.0)
        photographs = (images.permute(1, 2, 0).cpu().numpy() * 255.0).round().astype(np.uint8)
        drawn.append(np.concatenate([photographs, paint_labels(labels)], axis=1))
    return np.concatenate(drawn, axis=0)


class PredictionWriter(BasePredictionWriter):
    """Writes what ``predict`` restores as ``predictions/<key>.png`` in the root directory of the run."""

    def __init__(self) -> None:
        super().__init__(write_interval="batch")

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Any,
        batch_indices: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write one batch."""
        folder = Path(trainer.default_root_dir, "predictions")
        folder.mkdir(parents=True, exist_ok=True)
        images = (prediction.permute(0, 2, 3, 1).cpu().numpy() * 255.0).round().astype(np.uint8)
        for index, key in enumerate(batch.keys):
            if batch.valid[index]:
                Image.fromarray(images[index]).save(folder / f"{key}.png")
