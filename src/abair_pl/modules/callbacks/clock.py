"""How long a phase was trained, and on what, for the bundle's provenance."""

import time
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from abair_pl.processor import processor_name


class TrainingClock(Callback):
    """Puts ``seconds`` and ``hardware`` into the provenance, also of the runs that this one goes on from.

    Time counts from the first step to the end of training, with validations and checkpoints. What a killed run did
    after its last checkpoint is lost, and does not count.
    """

    def __init__(self) -> None:
        self.seconds = 0.0  # of what is over
        self.started: float | None = None
        self.hardware: list[str] = []

    @property
    def elapsed(self) -> float:
        """Seconds until now."""
        return self.seconds + (0.0 if self.started is None else time.monotonic() - self.started)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to count; a checkpoint has been loaded by now."""
        self.started = time.monotonic()
        self.hardware = list(dict.fromkeys([*self.hardware, hardware(trainer)]))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop."""
        self.seconds, self.started = self.elapsed, None

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take both into the provenance, before the module writes it."""
        facts = {"seconds": round(self.seconds, 1), "hardware": ", then ".join(self.hardware)}
        cast("Any", pl_module).facts.update(facts)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run goes on from."""
        return {"seconds": self.elapsed, "hardware": self.hardware}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.seconds, self.hardware = state_dict["seconds"], state_dict["hardware"]


def hardware(trainer: L.Trainer) -> str:
    """What computes, such as ``4 x NVIDIA H200`` or ``AMD EPYC 7B13, threads: 2``."""
    device = trainer.strategy.root_device
    on_gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if on_gpu else f"{processor_name()}, threads: {torch.get_num_threads()}"
    return name if trainer.world_size == 1 else f"{trainer.world_size} x {name}"
