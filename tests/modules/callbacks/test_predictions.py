from collections.abc import Callable
from pathlib import Path

import lightning as L
import numpy as np
from PIL import Image

from abair_pl.batch import RestorationBatch
from abair_pl.modules.pretrain import PretrainModule


def test_predictions_are_written_by_key(
    module: PretrainModule,
    make_batch: Callable[..., RestorationBatch],
    make_trainer: Callable[..., L.Trainer],
    data: Callable[..., L.LightningDataModule],
    tmp_path: Path,
) -> None:
    batch = make_batch([1, 2, 0, 1])
    batch.valid[3] = False
    module.has_weights = True
    make_trainer().predict(module, datamodule=data([batch]), return_predictions=False)
    folder = tmp_path / "predictions"
    assert {path.name for path in folder.iterdir()} == {"sample-0.png", "sample-1.png", "sample-2.png"}
    found = np.asarray(Image.open(folder / "sample-1.png")) / 255.0
    assert np.abs(found - batch.degraded[1].permute(1, 2, 0).numpy()).max() < 0.51 / 255.0
