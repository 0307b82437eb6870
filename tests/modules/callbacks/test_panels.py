from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image

from abair_pl.batch import RestorationBatch
from abair_pl.modules.callbacks import draw_panel, rows_to_draw
from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.pretrain import PretrainModule


def test_a_panel_is_written_beside_the_csv_log(
    module: PretrainModule, batches: list[RestorationBatch], fit: Callable[..., L.Trainer], tmp_path: Path
) -> None:
    fit(module, batches, logger=CSVLogger(tmp_path, "logs"), limit_val_batches=1)
    (panel,) = tmp_path.glob("logs/version_0/panels/*.png")
    assert panel.name == "step-00000002.png", "as the measures"
    with Image.open(panel) as image:
        assert image.size == (4 * 16, 3 * 16)  # clean, degraded, restored and labels; rain, haze and clean


def test_there_is_a_panel_at_each_validation_under_its_step(
    module: PretrainModule, batches: list[RestorationBatch], fit: Callable[..., L.Trainer], fake_logger: Any
) -> None:
    options = {"limit_val_batches": 1, "val_check_interval": 2, "check_val_every_n_epoch": None}
    fit(module, batches * 2, logger=fake_logger, **options)
    rows = fake_logger.run.rows
    panels = [row for row in rows if "val/panel" in row]
    measures = [row for row in rows if "val/psnr" in row]
    assert len(panels) == len(measures) == 3
    assert [row["trainer/global_step"] for row in panels] == [row["trainer/global_step"] for row in measures]
    assert all(len(row["val/panel"]) == 1 for row in panels)
    assert fake_logger.run.axes["val/panel"] == "trainer/global_step"


def test_each_logger_gets_the_panel(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Callable[..., L.Trainer],
    fake_logger: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[tuple[Any, ...]] = []
    board = TensorBoardLogger(tmp_path, "board")
    monkeypatch.setattr(board.experiment, "add_image", lambda *given, **_: drawn.append(given))
    fit(module, batches, logger=[CSVLogger(tmp_path, "logs"), fake_logger, board], limit_val_batches=1)
    assert len(list(tmp_path.glob("logs/version_0/panels/*.png"))) == 1
    assert len([row for row in fake_logger.run.rows if "val/panel" in row]) == 1
    ((key, panel, step),) = drawn
    assert (key, panel.shape, step) == ("val/panel", (3 * 16, 4 * 16, 3), 2)


def test_what_is_drawn_is_released(
    module: PretrainModule, batches: list[RestorationBatch], fit: Callable[..., L.Trainer], tmp_path: Path
) -> None:
    fit(module, batches, logger=CSVLogger(tmp_path, "logs"), limit_val_batches=1)
    assert module.panel == []


def test_a_test_prepares_no_panel(
    module: PretrainModule,
    batches: list[RestorationBatch],
    make_trainer: Callable[..., L.Trainer],
    data: Callable[..., L.LightningDataModule],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: Any) -> None:
        pytest.fail("nothing shows these labels")

    monkeypatch.setattr(module, "shown_labels", refuse)
    module.has_weights = True
    make_trainer().test(module, datamodule=data(batches), verbose=False)
    assert module.panel == []


def test_rows_to_draw_do_not_keep_the_batch(make_batch: Callable[..., RestorationBatch]) -> None:
    batch = make_batch([2, 1, 1, 2, 0], classes=3)
    rows = rows_to_draw(batch, batch.degraded, batch.labels)
    assert len(rows) == 3
    for row, index in zip(rows, (4, 1, 0), strict=True):
        for part, images in zip(row, (batch.clean, batch.degraded, batch.degraded, batch.labels), strict=True):
            assert torch.equal(part, images[index])
            assert part.untyped_storage().nbytes() == part.nbytes


def test_no_panel_without_a_logger(
    module: PretrainModule, batches: list[RestorationBatch], fit: Callable[..., L.Trainer], tmp_path: Path
) -> None:
    fit(module, batches, limit_val_batches=1)
    assert not list(tmp_path.rglob("panels"))


def test_panels_are_of_limited_size(
    nano: str,
    fast: OptimizationConfig,
    make_batch: Callable[..., RestorationBatch],
    fit: Callable[..., L.Trainer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At most so many rows, and of each image the middle."""
    monkeypatch.setattr("abair_pl.modules.callbacks.panels.MOST_ROWS", 2)
    monkeypatch.setattr("abair_pl.modules.callbacks.panels.MOST_PX", 12)
    module = PretrainModule(tmp_path / "bundle", nano, ["rain", "haze", "noise"], optimization=fast)
    batch = make_batch([1, 2, 3], classes=4)
    fit(module, [batch], logger=CSVLogger(tmp_path, "logs"), limit_val_batches=1)
    (file,) = tmp_path.glob("logs/version_0/panels/*.png")
    panel = np.asarray(Image.open(file)) / 255.0
    assert panel.shape == (2 * 12, 4 * 12, 3)
    expected = batch.clean[0, :, 2:14, 2:14].permute(1, 2, 0).numpy()
    assert np.abs(panel[:12, :12] - expected).max() < 0.51 / 255.0


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
