"""Which W&B run this is, written where a resumed run and the next phase look for it."""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback

from abair_pl.data.streaming.sources import is_remote
from abair_pl.modules.tracking import RunRecord, wandb_loggers


class RunRecorder(Callback):
    """Writes a W&B run's project, group and id beside its checkpoints, and into the bundle's provenance."""

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write them on rank 0, before there is a checkpoint."""
        for logger in wandb_loggers(trainer):
            record = RunRecord.of_run(logger.experiment)
            facts = getattr(pl_module, "facts", {})
            facts.update(record.facts)
            for callback in trainer.checkpoint_callbacks:
                folder = str(getattr(callback, "dirpath", None) or "")
                if folder and not is_remote(folder):
                    record.write(Path(folder))
