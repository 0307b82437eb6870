from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger
from PIL import Image

from abair_pl.batch import RestorationBatch
from abair_pl.modules.callbacks import draw_panel
from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.pretrain import PretrainModule


@pytest.fixture
def module(nano: str, fast: OptimizationConfig, tmp_path: Path) -> PretrainModule:
    return PretrainModule(tmp_path / "bundle", nano, ["rain", "haze"], optimization=fast)


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


def test_throughput_and_learning_rate_are_logged(
    module: PretrainModule, batches: list[RestorationBatch], fit: Callable[..., L.Trainer]
) -> None:
    logged = fit(module, batches).logged_metrics
    assert logged["train/images_per_second"] > 0
    assert 0 < logged["train/learning_rate"] <= 1e-2


def test_a_panel_is_written_beside_the_csv_log(
    module: PretrainModule, batches: list[RestorationBatch], fit: Callable[..., L.Trainer], tmp_path: Path
) -> None:
    fit(module, batches, logger=CSVLogger(tmp_path, "logs"), limit_val_batches=1)
    (panel,) = tmp_path.glob("logs/version_0/panels/*.png")
    assert panel.name == "step-00000003.png"
    with Image.open(panel) as image:
        assert image.size == (4 * 16, 3 * 16)  # clean, degraded, restored and labels; rain, haze and clean


def test_no_panel_without_a_logger(
    module: PretrainModule, batches: list[RestorationBatch], fit: Callable[..., L.Trainer], tmp_path: Path
) -> None:
    fit(module, batches, limit_val_batches=1)
    assert not list(tmp_path.rglob("panels"))


def test_panel_puts_images_and_label_colours_side_by_side() -> None:
    clean, degraded, restored = torch.rand(3, 3, 6, 5)
    labels = torch.tensor([[0] * 5] * 3 + [[1] * 5] * 3)
    panel = draw_panel([(clean, degraded, restored, labels), (clean, clean, clean, labels + 9)])
    assert panel.shape == (12, 20, 3)
    assert panel.dtype == np.uint8
    expected = torch.cat((clean, degraded, restored), dim=2).permute(1, 2, 0).numpy() * 255.0
    assert np.abs(panel[:6, :15] - expected).max() <= 0.51
    assert len(np.unique(panel[:3, 15:].reshape(-1, 3), axis=0)) == 1
    assert not np.array_equal(panel[0, 15], panel[3, 15])
    assert np.array_equal(panel[:6, 15:], panel[6:, 15:]), "colours of further labels should come in turn"


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
