"""How far a run is, where no progress bar can show it: in the log of a job, or of a run without a terminal."""

import sys
import time
from datetime import timedelta
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Callback

EVERY_S = 60.0
"""Between two lines."""


class ProgressLines(Callback):
    """Prints a line a minute, such as ``pretrain: step 1500 of 9000, loss 0.983, 2.43 steps/s, 0:51:26 left``.

    Only the first process does, and only where there is no bar, or standard output is no terminal. Speed is that of the
    steps since the line before; the first step, which starts loaders and compiles, and validations are left out.
    """

    def __init__(self) -> None:
        self.at, self.step = 0.0, -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The clock starts after the first step."""
        self.step = -1

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self.at -= time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let it go on."""
        self.at += time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Print a line if one is due."""
        now = time.monotonic()
        if self.step < 0:
            self.at, self.step = now, trainer.global_step
        seconds, done = now - self.at, trainer.global_step - self.step
        shown = trainer.progress_bar_callback is not None and sys.stdout.isatty()
        if seconds < EVERY_S or done < 1 or shown or not trainer.is_global_zero:
            return
        self.at, self.step = now, trainer.global_step
        left = timedelta(seconds=round((trainer.max_steps - self.step) * seconds / done))
        loss = float(trainer.callback_metrics["train/loss"])
        phase = cast("Any", pl_module).phase
        said = f"step {self.step} of {trainer.max_steps}, loss {loss:.3g}, {done / seconds:.3g} steps/s, {left} left"
        print(f"{phase}: {said}", flush=True)
