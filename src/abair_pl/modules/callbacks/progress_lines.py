"""How far a run is, where no progress bar can show it: in the log of a job, or of a run without a terminal."""

import sys
import time
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

EVERY_S = 60.0
"""Between two lines."""


class ProgressLines(Callback):
    """Prints a line a minute, such as ``step 1500 of 9000, loss 0.983, 2.4 steps/s, 0:52:05 left``.

    Only the first process does, and only where there is no bar, or where it would not be seen. The loss is the last one
    that was logged, so that no step waits for a GPU.
    """

    def __init__(self) -> None:
        self.at, self.step = 0.0, 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """The first line is due a minute from now."""
        self.at, self.step = time.monotonic(), trainer.global_step

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Print a line if one is due."""
        now, done = time.monotonic(), trainer.global_step - self.step
        if now - self.at < EVERY_S or done < 1 or not trainer.is_global_zero:
            return
        if trainer.progress_bar_callback is not None and sys.stdout.isatty():
            return
        rate = done / (now - self.at)
        self.at, self.step = now, trainer.global_step
        loss = trainer.logged_metrics.get("train/loss")
        parts = [f"step {self.step} of {trainer.max_steps}", *([] if loss is None else [f"loss {float(loss):.3g}"])]
        left = timedelta(seconds=round((trainer.max_steps - self.step) / rate))
        print(", ".join([*parts, f"{rate:.2g} steps/s", f"{left} left"]), flush=True)
