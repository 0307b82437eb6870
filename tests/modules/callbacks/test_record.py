import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from abair_pl.batch import RestorationBatch
from abair_pl.bundle import Bundle
from abair_pl.modules.pretrain import PretrainModule
from abair_pl.modules.tracking import RunRecord

Fit = Callable[..., L.Trainer]


def test_the_run_is_written_beside_the_checkpoints_and_into_the_bundle(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit, offline_logger: Any, tmp_path: Path
) -> None:
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=1)
    fit(module, batches, logger=offline_logger, enable_checkpointing=True, callbacks=[keep])
    expected = {"project": "project", "group": "group", "run": "1a2b"}
    assert json.loads((tmp_path / "kept" / "tracking.json").read_text()) == expected
    provenance = Bundle.open(module.save_to).config.provenance["pretrain"]
    assert RunRecord.of_facts(provenance) == RunRecord(**expected)


def test_nothing_is_written_without_wandb(
    module: PretrainModule, batches: list[RestorationBatch], fit: Fit, tmp_path: Path
) -> None:
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=1)
    fit(module, batches, logger=CSVLogger(tmp_path, "logs"), enable_checkpointing=True, callbacks=[keep])
    assert list((tmp_path / "kept").glob("*.ckpt"))
    assert not list(tmp_path.rglob("tracking.json"))
    assert "wandb" not in str(Bundle.open(module.save_to).config.provenance)
