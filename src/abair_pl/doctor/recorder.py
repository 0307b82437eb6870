"""What the dry run measures about itself, as a callback of its trainer."""

import json
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from abair_pl.atomic import write_text

_KIB = 2**10


class _Counter:
    """A file that only counts the bytes that are written to it."""

    def __init__(self) -> None:
        self.count = 0

    def write(self, data: Any) -> int:
        """Count."""
        size = memoryview(data).nbytes
        self.count += size
        return size

    def flush(self) -> None:
        """Nothing is kept back."""


class DryRunRecorder(Callback):
    """Measures the steps of a fast development run after the first, its validation, memory and checkpoint.

    Args:
        file: The JSON file that the measures are written to.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.seconds: dict[str, float] = {}
        self.steps = 0
        self.images = 0
        self.is_warm = False
        self.validation: list[float] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Forget the first step, which warms up."""
        if self.is_warm:
            self.images += len(batch.clean)
            self.steps = trainer.global_step - 1
            if batch_idx + 1 == trainer.num_training_batches:  # what follows is no part of a step
                self.seconds = cast("Any", trainer).datamodule.stopwatch.read()
        elif trainer.global_step == 1:
            self.is_warm = True
            cast("Any", trainer).datamodule.stopwatch.read()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to measure the validation."""
        self.validation = [_now(pl_module)]

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """One batch more."""
        self.validation.append(_now(pl_module))

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Its end."""
        self.validation.append(_now(pl_module))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write all measures, while the loader's workers are still there."""
        checkpoint = _Counter()
        torch.save(cast("Any", trainer)._checkpoint_connector.dump_checkpoint(False), cast("Any", checkpoint))
        loader = cast("Any", trainer).val_dataloaders
        parameters = list(pl_module.parameters())
        device = pl_module.device
        on_gpu = device.type == "cuda"
        measures = {
            "steps": self.steps,
            "images": self.images,
            "seconds": self.seconds,
            "validation": self.validation,
            "validation_samples": loader.dataset.samples,
            "validation_batch_size": loader.batch_size,
            "checkpoint_bytes": checkpoint.count,
            "parameters": sum(parameter.numel() for parameter in parameters),
            "trained_parameters": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            "peak_bytes": _peak_bytes(),
            "worker_bytes": sum(_private_bytes(process.pid) for process in multiprocessing.active_children()),
            "gpu_bytes": torch.cuda.max_memory_allocated(device) if on_gpu else None,
            "gpu_reserved_bytes": torch.cuda.max_memory_reserved(device) if on_gpu else None,
            "gpu_total_bytes": torch.cuda.get_device_properties(device).total_memory if on_gpu else None,
        }
        write_text(self.file, json.dumps(measures))


def _now(module: L.LightningModule) -> float:
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
    return time.perf_counter()


def _peak_bytes() -> int:
    """The most main memory that this process took."""
    unit = 1 if sys.platform == "darwin" else _KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _private_bytes(process: int | None) -> int:
    """The memory that a process shares with no other now; 0 where the system does not say."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith("Private_"))
