"""Trains next to nothing in two processes, of which one changes a weight, and writes down how that ends."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.utils.data import DataLoader

from abair_pl.atomic import write_text
from abair_pl.errors import TrainingError
from abair_pl.modules.callbacks import RankAgreement


class Small(L.LightningModule):
    """Two layers, of which one is frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.frozen = torch.nn.Linear(2, 2).requires_grad_(False)
        self.layer = torch.nn.Linear(2, 2)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.layer(self.frozen(batch)).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@torch.no_grad()
def change_bias(module: Any) -> None:
    module.layer.bias[1] += 1e-6


@torch.no_grad()
def change_frozen(module: Any) -> None:
    module.frozen.bias[1] += 1.0


CASES: dict[str, tuple[int, Callable[[Any], None], int]] = {
    "nothing": (0, lambda module: None, 1),
    "frozen": (1, change_frozen, 1),
    "before": (0, change_bias, 2),
    "during": (3, change_bias, 2),
    "not compared": (3, change_bias, 0),
}
"""After which step rank 1 does what, and every how many steps ranks are compared."""


class Changer(Callback):
    """Changes a weight on rank 1."""

    def __init__(self, step: int, change: Callable[[Any], None]) -> None:
        self.step, self.change = step, change

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._at(trainer, 0)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._at(trainer, trainer.global_step)

    def _at(self, trainer: L.Trainer, step: int) -> None:
        if trainer.global_rank == 1 and step == self.step:
            self.change(trainer.lightning_module)


def run(step: int, change: Callable[[Any], None], every: int) -> str:
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy="ddp",
        max_steps=6,
        accumulate_grad_batches=2,
        use_distributed_sampler=False,
        callbacks=[Changer(step, change), RankAgreement(every)],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(Small(), DataLoader(torch.ones(12, 2)))  # type: ignore[arg-type]
    except TrainingError as error:
        return str(error)
    return f"trained {trainer.global_step} steps"


if __name__ == "__main__":
    ends = {name: run(*case) for name, case in CASES.items()}
    write_text(Path(sys.argv[1]) / f"rank{os.environ['RANK']}.json", json.dumps(ends))
