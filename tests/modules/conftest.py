"""A data module of batches in memory, and what trains a module on them in under a second."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader, Dataset

from abair_pl.batch import RestorationBatch
from abair_pl.models.presets import PRESETS, BackboneConfig
from abair_pl.modules.optimization import OptimizationConfig
from abair_pl.modules.trainer import PhaseTrainer


class Batches(Dataset[RestorationBatch]):
    """Batches in memory."""

    def __init__(self, batches: list[RestorationBatch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> RestorationBatch:
        return self.batches[index]


class InMemory(L.LightningDataModule):
    """Gives the same batches to all stages."""

    def __init__(self, batches: list[RestorationBatch]) -> None:
        super().__init__()
        self.batches = batches

    def provenance(self) -> dict[str, Any]:
        return {"data": "in memory"}

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        return batch

    def train_dataloader(self) -> DataLoader[RestorationBatch]:
        return DataLoader(Batches(self.batches), batch_size=None)

    val_dataloader = train_dataloader
    test_dataloader = train_dataloader
    predict_dataloader = train_dataloader


@pytest.fixture
def data() -> Callable[[list[RestorationBatch]], InMemory]:
    """Make a data module of batches."""
    return InMemory


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., L.Trainer]:
    """A quiet trainer on the CPU; keywords change it."""

    def make(**options: Any) -> L.Trainer:
        defaults = {
            "accelerator": "cpu",
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
            "default_root_dir": tmp_path,
        }
        return PhaseTrainer(**{**defaults, **options})

    return make


@pytest.fixture
def fit(make_trainer: Callable[..., L.Trainer]) -> Callable[..., L.Trainer]:
    """Train a module for one step a batch, and give back the trainer."""

    def run(module: L.LightningModule, batches: list[RestorationBatch], **options: Any) -> L.Trainer:
        ckpt_path = options.pop("ckpt_path", None)
        trainer = make_trainer(**{"max_steps": len(batches), "limit_val_batches": 0, **options})
        trainer.fit(module, datamodule=InMemory(batches), ckpt_path=ckpt_path)
        return trainer

    return run


@pytest.fixture
def nano(architecture: BackboneConfig, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a preset of toy size."""
    monkeypatch.setitem(PRESETS, "nano", architecture)
    return "nano"


@pytest.fixture
def fast() -> OptimizationConfig:
    """A learning rate that shows after one step."""
    return OptimizationConfig(learning_rate=1e-2, warmup_steps=0, ema_decay=0.0)


@pytest.fixture
def batches(make_batch: Callable[..., RestorationBatch]) -> list[RestorationBatch]:
    """Three batches of rain, haze and clean images."""
    return [make_batch([1, 2, 0], seed=seed) for seed in range(3)]


@pytest.fixture
def broken(batches: list[RestorationBatch]) -> RestorationBatch:
    """A batch whose gradient is not finite."""
    return replace(batches[0], degraded=torch.full_like(batches[0].degraded, torch.nan))


class PassingTime(Callback):
    """Lets so many seconds of the clock that all callbacks read go by in each step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.now, self.seconds = 1000.0, seconds
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def on_train_batch_start(self, *_: Any) -> None:
        self.now += self.seconds


@pytest.fixture
def passing_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Callback]:
    """``passing_time(10.0)``: a callback that lets ten seconds of a clock go by in each step."""
    return lambda seconds: PassingTime(monkeypatch, seconds)
