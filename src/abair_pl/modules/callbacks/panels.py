"""Pictures of how well a run restores."""

from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from abair_pl.atomic import published
from abair_pl.batch import RestorationBatch
from abair_pl.modules.tracking import going_on, logged_step
from abair_pl.palette import paint_labels

PANEL = "val/panel"
MOST_ROWS = 8
MOST_PX = 256


class PanelLogger(Callback):
    """One panel at each validation: rows of clean, degraded, restored and labels, of the same photograph every time.

    There is a row for each degradation, at most 8, of the middle 256 x 256 pixels. In phase I the labels are those that
    the segmentation head predicts. W&B and TensorBoard get the panel under the step of the validation's other measures;
    where another logger is used, it goes to ``panels/`` in the log directory.
    """

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Draw and log."""
        log_dir = trainer.log_dir  # all ranks take part in this
        module = cast("Any", pl_module)
        rows, module.panel = module.panel, []
        if not rows or trainer.sanity_checking or not trainer.is_global_zero or not trainer.loggers:
            return
        panel, step = draw_panel(rows), logged_step(trainer)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                with going_on("to log the panel"):
                    logger.experiment.define_metric(PANEL, step_metric="trainer/global_step")
                    logger.log_image(PANEL, [panel], step=step)
            elif isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image(PANEL, panel, step, dataformats="HWC")
            elif log_dir:
                folder = Path(log_dir, "panels")
                folder.mkdir(parents=True, exist_ok=True)
                with published(folder / f"step-{step:08d}.png") as partial:
                    Image.fromarray(panel).save(partial, "PNG")


def rows_to_draw(batch: RestorationBatch, restored: Tensor, labels: Tensor) -> list[tuple[Tensor, ...]]:
    """The rows of a panel as :func:`draw_panel` takes them, copied, so that the batch need not be kept.

    Args:
        batch: Images of all degradations.
        restored: What they were restored to, ``(B, 3, H, W)``.
        labels: The label maps to show, ``(B, H, W)``.
    """
    kinds = batch.labels[:, 0, 0]
    rows = [int((kinds == kind).nonzero()[0]) for kind in kinds.unique().tolist()[:MOST_ROWS]]
    shown = (batch.clean, batch.degraded, restored, labels)
    return [tuple(_middle(images[row]).clone() for images in shown) for row in rows]


def _middle(image: Tensor) -> Tensor:
    """The middle of an image or a label map, ``(..., H, W)``."""
    top, left = (max((side - MOST_PX) // 2, 0) for side in image.shape[-2:])
    return image[..., top : top + MOST_PX, left : left + MOST_PX]


def draw_panel(rows: list[tuple[Tensor, ...]]) -> NDArray[np.uint8]:
    """Put rows of clean, degraded, restored ``(3, H, W)`` and labels ``(H, W)`` into one 8-bit RGB image."""
    drawn = []
    for clean, degraded, restored, labels in rows:
        images = torch.cat([clean, degraded, restored], dim=2).float().clamp(0.0, 1.0)
        photographs = (images.permute(1, 2, 0).cpu().numpy() * 255.0).round().astype(np.uint8)
        drawn.append(np.concatenate([photographs, paint_labels(labels)], axis=1))
    return np.concatenate(drawn, axis=0)
