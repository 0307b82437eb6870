from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle
from abair_pl.modules.callbacks import clock
from abair_pl.modules.callbacks.clock import TrainingClock, hardware
from abair_pl.modules.pretrain import PretrainModule

Fit = Callable[..., L.Trainer]


def facts_of(module: PretrainModule) -> dict[str, Any]:
    return Bundle.open(module.save_to).config.provenance["pretrain"]


def test_seconds_and_hardware_are_in_the_bundle(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit, passing_time: Callable[[float], Any]
) -> None:
    fit(module, batches, callbacks=[passing_time(10.0)])
    assert facts_of(module)["seconds"] == 30.0
    assert facts_of(module)["hardware"].endswith(f", threads: {torch.get_num_threads()}")


@pytest.fixture
def kept(
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    tmp_path: Path,
    passing_time: Callable[[float], Any],
) -> Path:
    """The checkpoints of a run, one after each step."""
    keep = ModelCheckpoint(tmp_path / "kept", filename="{step}", every_n_train_steps=1, save_top_k=-1)
    fit(module, batches, enable_checkpointing=True, callbacks=[passing_time(10.0), keep])
    return tmp_path / "kept"


def test_a_resumed_run_goes_on_from_its_checkpoint(
    kept: Path,
    module: PretrainModule,
    batches: list[RestorationBatch],
    fit: Fit,
    monkeypatch: pytest.MonkeyPatch,
    passing_time: Callable[[float], Any],
) -> None:
    monkeypatch.setattr(clock, "processor_name", lambda: "another")
    fit(module, batches, callbacks=[passing_time(10.0)], ckpt_path=kept / "step=2.ckpt")
    assert facts_of(module)["seconds"] == 30.0, "two steps of the first run, one of the second"
    first, second = facts_of(module)["hardware"].split(", then ")
    assert second == f"another, threads: {torch.get_num_threads()}" != first


def test_a_run_that_has_ended_already_keeps_its_seconds(
    kept: Path, module: PretrainModule, batches: list[RestorationBatch], fit: Fit
) -> None:
    before = facts_of(module)
    fit(module, batches, ckpt_path=kept / "step=3.ckpt")
    assert facts_of(module) == before


@pytest.mark.parametrize(("ranks", "expected"), [(1, "NVIDIA X"), (4, "4 x NVIDIA X")])
def test_gpus_are_named(ranks: int, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"NVIDIA {'X' if device.index == 1 else '?'}")
    strategy = SimpleNamespace(root_device=torch.device("cuda", 1))
    trainer: Any = SimpleNamespace(strategy=strategy, world_size=ranks)
    assert hardware(trainer) == expected


def test_time_counts_while_it_runs(passing_time: Callable[[float], Any]) -> None:
    later, made, trainer = passing_time(10.0), TrainingClock(), SimpleNamespace()
    trainer.strategy, trainer.world_size = SimpleNamespace(root_device=torch.device("cpu")), 1
    made.on_train_start(trainer, None)  # type: ignore[arg-type]
    later.now += 2.5
    assert made.state_dict()["seconds"] == 2.5
    made.on_train_end(trainer, None)  # type: ignore[arg-type]
    later.now += 100.0
    assert made.elapsed == 2.5
