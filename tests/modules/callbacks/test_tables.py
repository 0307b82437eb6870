from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from abair_pl.batch import RestorationBatch
from abair_pl.metrics import psnr, ssim
from abair_pl.modules.callbacks.tables import MOST_IMAGES
from abair_pl.modules.pretrain import PretrainModule

Data = Callable[..., L.LightningDataModule]


@pytest.fixture
def tested(
    module: PretrainModule, make_trainer: Callable[..., L.Trainer], data: Data, fake_logger: Any
) -> Callable[[list[RestorationBatch]], dict[str, Any]]:
    """Test untrained weights, which give back their input, and give the tables by key, with all that was logged."""

    def run(batches: list[RestorationBatch]) -> dict[str, Any]:
        module.has_weights = True
        make_trainer(logger=fake_logger).test(module, datamodule=data(batches), verbose=False)
        return {key: value for row in fake_logger.run.rows for key, value in row.items()}

    return run


def test_a_row_for_each_degradation(
    tested: Callable[..., dict[str, Any]], make_batch: Callable[..., RestorationBatch]
) -> None:
    found = tested([make_batch([1, 2, 1], seed=1), make_batch([2, 2, 1], seed=2)])
    table = found["test/measures"]
    assert table.columns == ["degradation", "psnr", "ssim"]
    expected = [[name, found[f"test/psnr/{name}"], found[f"test/ssim/{name}"]] for name in ("rain", "haze")]
    assert table.data == [[name, pytest.approx(first), pytest.approx(second)] for name, first, second in expected]


def test_rows_of_images_are_measured_each_and_capped(
    tested: Callable[..., dict[str, Any]], make_batch: Callable[..., RestorationBatch]
) -> None:
    parts = [make_batch([1, 2, 1], seed=seed) for seed in range(4)]
    parts[0] = replace(parts[0], valid=torch.tensor([True, True, False]))  # a repeat
    table = tested(parts)["test/images"]
    names = [row[0] for row in table.data]
    assert names.count("rain") == names.count("haze") == MOST_IMAGES == 4
    assert [row[1] for row in table.data][:4] == ["sample-0", "sample-1", "sample-0", "sample-1"]
    assert table.columns[2:6] == ["psnr_input", "ssim_input", "psnr", "ssim"]
    first, batch = table.data[0], parts[0]
    measured = [measure(batch.degraded[:1], batch.clean[:1]).item() for measure in (psnr, ssim)]
    assert first[2:6] == pytest.approx(measured * 2, rel=1e-5)
    assert [picture.image.size for picture in first[6:]] == [(16, 16)] * 3


def test_tables_are_of_the_test_alone(
    module: PretrainModule, batches: list[RestorationBatch], fit: Callable[..., L.Trainer], fake_logger: Any
) -> None:
    fit(module, batches, logger=fake_logger, limit_val_batches=1)
    assert fake_logger.run.rows
    assert not [key for row in fake_logger.run.rows for key in row if key.startswith("test/")]


def test_other_loggers_are_left_alone(
    module: PretrainModule,
    batches: list[RestorationBatch],
    make_trainer: Callable[..., L.Trainer],
    data: Data,
    tmp_path: Path,
) -> None:
    module.has_weights = True
    trainer = make_trainer(logger=CSVLogger(tmp_path, "logs"))
    trainer.test(module, datamodule=data(batches), verbose=False)
    assert "measures" not in (tmp_path / "logs" / "version_0" / "metrics.csv").read_text()
