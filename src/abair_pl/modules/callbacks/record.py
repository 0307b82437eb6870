"""Which W&B run this is, written where a resumed run and the next phase look for it."""

from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Callback

from abair_pl.data.streaming.sources import is_remote
from abair_pl.modules.tracking import RunRecord, wandb_loggers


class RunRecorder(Callback):
    """Writes a W&B run's project, group and id beside its checkpoints, and into the bundle's provenance."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take them into the provenance."""
        for logger in wandb_loggers(trainer):
            cast("Any", pl_module).facts.update(RunRecord.of_run(logger.experiment).facts)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write them on rank 0, before there is a checkpoint."""
        for logger in wandb_loggers(trainer):
            for folder in (getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks):
                if folder and not is_remote(str(folder)):
                    RunRecord.of_run(logger.experiment).write(Path(folder))
