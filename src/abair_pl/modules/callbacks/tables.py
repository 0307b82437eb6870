"""Tables of what ``test`` measures, in W&B."""

from collections import Counter
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Callback

from abair_pl.images import to_8bit
from abair_pl.metrics import psnr, ssim
from abair_pl.modules.tracking import going_on, logged_step, wandb_loggers

MOST_IMAGES = 4
"""Of each degradation, in the table of images."""

MEASURES = "test/measures"
IMAGES = "test/images"


class TableLogger(Callback):
    """On ``test`` alone, two tables for W&B.

    ``test/measures`` has a row for each degradation with the means over all images and ranks; ``test/images`` the first
    four images of each degradation that rank 0 measured, with their own PSNR and SSIM.
    """

    def __init__(self) -> None:
        self.rows: list[list[Any]] = []
        self.shown: Counter[str] = Counter()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin anew."""
        self.rows, self.shown = [], Counter()

    def on_test_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first images of each degradation, whose restored ones ``test_step`` gave back."""
        if not wandb_loggers(trainer):
            return
        import wandb

        names = cast("list[str]", pl_module.degradations)
        for index in batch.valid.nonzero().flatten().tolist():
            label = int(batch.labels[index, 0, 0])
            if not 1 <= label <= len(names) or self.shown[names[label - 1]] >= MOST_IMAGES:
                continue
            self.shown[names[label - 1]] += 1
            clean, degraded, restored = (images[index : index + 1] for images in (batch.clean, batch.degraded, outputs))
            measures = [measure(image, clean).item() for image in (degraded, restored) for measure in (psnr, ssim)]
            with going_on("to keep an image"):
                pictures = [wandb.Image(to_8bit(image[0].float())) for image in (degraded, restored, clean)]
                self.rows.append([names[label - 1], batch.keys[index], *measures, *pictures])

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log both tables."""
        names = cast("list[str]", pl_module.degradations)
        found = trainer.callback_metrics
        columns = ["degradation", "image", "psnr_input", "ssim_input", "psnr", "ssim", "input", "restored", "clean"]
        for logger in wandb_loggers(trainer):
            step = logged_step(trainer)
            means = [[name, *(float(found[f"test/{kind}/{name}"]) for kind in ("psnr", "ssim"))] for name in names]
            with going_on("to log the tables"):
                logger.log_table(MEASURES, ["degradation", "psnr", "ssim"], means, step=step)
                logger.log_table(IMAGES, columns, self.rows, step=step)
