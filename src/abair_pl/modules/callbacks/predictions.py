"""What ``predict`` restores, as files."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image

from abair_pl.atomic import published


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
                with published(folder / f"{key}.png") as partial:
                    Image.fromarray(images[index]).save(partial, "PNG")
