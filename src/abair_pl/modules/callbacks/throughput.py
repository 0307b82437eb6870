"""How fast a run trains, and what it waits for."""

from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from abair_pl.modules.tracking import logged_step
from abair_pl.stopwatch import Stopwatch, mark_maker

STARVED = 0.3
"""Share of the time that waiting for data may take before it is said."""

_LEAST_S = 5.0
"""Of which a share means something."""

PARTS = ("data", "synthesis", "forward_backward", "optimizer", "other")
"""What the time of a step is divided into."""


class ThroughputMonitor(Callback):
    """Logs every ``log_every_n_steps`` how fast the steps since the last time were.

    ``train/images_per_second`` over all devices; ``time/<part>``, the shares of :data:`PARTS` in the time of rank 0,
    which sum to 1: waiting for the loader and moving a batch to the device, degrading it, loss and gradient, clipping
    and optimizer, and what is left, such as checkpoints, loggers and the moving average; ``train/learning_rate``; and
    on a GPU ``gpu/memory_gib``, the most that tensors took. The first batch and validations are left out.

    The first time that waiting for data takes more than three tenths of the time, and whenever it is a tenth more than
    was said before, there is a warning.

    The data module's ``stopwatch`` is used, on which it marks its own parts.
    """

    def __init__(self) -> None:
        self.stopwatch = Stopwatch()
        self.images = 0
        self.logged_step = -1
        self.starved = STARVED
        self.hooks: list[RemovableHandle] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the stopwatch that the data module uses, and see where the optimizers end."""
        self.stopwatch = getattr(getattr(trainer, "datamodule", None), "stopwatch", self.stopwatch)
        self.stopwatch.stop()
        self.images, self.logged_step = 0, -1
        optimizers = [each for each in trainer.optimizers if isinstance(each, Optimizer)]
        self.hooks = [optimizer.register_step_post_hook(self._after_step) for optimizer in optimizers]

    def _after_step(self, *_: Any) -> None:
        self.stopwatch.enter("other")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the optimizers alone."""
        for hook in self.hooks:
            hook.remove()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """The batch is there, degraded."""
        self.stopwatch.enter("forward_backward")

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any) -> None:
        """The gradient is there."""
        self.stopwatch.enter("optimizer")

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count images, and log."""
        if self.stopwatch.running:
            self.stopwatch.enter("other")
            self.images += len(batch.clean) * trainer.world_size
        else:
            self.stopwatch.start(mark_maker(pl_module.device), "other")
        every, step = int(cast("Any", trainer).log_every_n_steps), logged_step(trainer)
        if every and (step + 1) % every == 0 and step != self.logged_step:
            self.logged_step = step
            pl_module.log_dict(self._measures(trainer, pl_module.device), rank_zero_only=True)

    def _measures(self, trainer: L.Trainer, device: torch.device) -> dict[str, float]:
        measures = {"train/learning_rate": trainer.optimizers[0].param_groups[0]["lr"]}
        if device.type == "cuda":
            measures["gpu/memory_gib"] = torch.cuda.max_memory_allocated(device) / 2**30
            torch.cuda.reset_peak_memory_stats(device)
        if self.images:
            seconds = self.stopwatch.read()
            total = sum(seconds.values())
            measures |= {f"time/{part}": seconds.get(part, 0.0) / total for part in PARTS}
            measures["train/images_per_second"] = self.images / total
            self.images = 0
            self._warn_if_starved(measures["time/data"], total)
        return measures

    def _warn_if_starved(self, share: float, seconds: float) -> None:
        if share < self.starved or seconds < _LEAST_S:
            return
        self.starved = share + 0.1
        rank_zero_warn(
            f"{share:.0%} of the last {seconds:.0f} s went by waiting for data; give the loader more --data.workers, "
            "or faster shards: a local --data.cache_dir, or smaller photographs (shards build --max-side-px)"
        )

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the time of validation out."""
        self.stopwatch.enter(None)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Go on."""
        self.stopwatch.enter("other")
