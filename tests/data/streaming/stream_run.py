"""Trains next to nothing on a datamodule, in one process or several, and writes down what each rank saw."""

import argparse
import json
import zlib
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from abair_pl.batch import PhotoBatch, RestorationBatch
from abair_pl.data.datamodule import RestorationDataModule
from abair_pl.data.streaming import ranks


class WatchedDataModule(RestorationDataModule):
    """Notes the training batches as they come to be trained on."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[dict[str, Any]] = []

    def on_before_batch_transfer(self, batch: PhotoBatch, dataloader_idx: int) -> PhotoBatch:
        if batch.position is not None:
            pixels = zlib.crc32(batch.clean.numpy().tobytes())
            epochs = [epoch for epoch, _ in batch.position.sources]
            facts = {"keys": batch.keys, "seeds": batch.seeds.tolist(), "pixels": pixels, "epochs": epochs}
            facts["broken"] = batch.broken
            self.seen.append(facts)
        return batch


class Recorder(L.LightningModule):
    """One weight; notes the photographs it is validated on."""

    degradations = ("rain",)

    def __init__(self, lonely_step: int | None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.lonely_step = lonely_step
        self.validated: list[str] = []
        self.lonely_ranks: int | None = None

    def training_step(self, batch: RestorationBatch, batch_idx: int) -> torch.Tensor:
        return self.layer(torch.ones(1, 1)).sum()

    def on_train_batch_end(self, *arguments: Any) -> None:
        if self.global_step == self.lonely_step and self.global_rank == 0:
            state = self.trainer.datamodule.state_dict()  # type: ignore[attr-defined]
            self.lonely_ranks = len(state["ranks"])

    def validation_step(self, batch: RestorationBatch, batch_idx: int) -> None:
        self.validated += [key for key, valid in zip(batch.keys, batch.valid.tolist(), strict=True) if valid]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def run(
    output: Path,
    steps: int,
    devices: int = 1,
    checkpoint: str | None = None,
    lonely_step: int | None = None,
    trainer_options: dict[str, Any] | None = None,
    **data: Any,
) -> dict[str, Any]:
    """Train for some steps, with a checkpoint every third, and validate at the end.

    Args:
        output: Folder for checkpoints, logs, and what each rank saw, as ``rank0.json``.
        steps: The last step.
        devices: Number of processes.
        checkpoint: Where to go on.
        lonely_step: The step after which rank 0 alone asks for the stream's position.
        trainer_options: Further options of the trainer.
        data: Options of the datamodule.
    """
    ranks.WAIT = timedelta(seconds=1)
    datamodule = WatchedDataModule(**{"patch_px": 8, "val_patch_px": 11, "shuffle_buffer": 3, **data})
    module = Recorder(lonely_step)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_steps=steps,
        **{"limit_train_batches": steps, **(trainer_options or {})},
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        logger=CSVLogger(output),
        callbacks=[ModelCheckpoint(output / "checkpoints", "{step}", every_n_train_steps=3, save_top_k=-1)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule, ckpt_path=checkpoint)
    found = {"seen": datamodule.seen, "validated": module.validated, "lonely_ranks": module.lonely_ranks}
    (output / f"rank{trainer.global_rank}.json").write_text(json.dumps(found))
    return json.loads(json.dumps(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("options", type=json.loads)
    options: dict[str, Any] = parser.parse_args().options
    run(Path(options.pop("output")), **options)
