"""Checkpoints to go on from: every few steps, before each validation, and when a run is told to stop."""

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import lightning as L
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_warn

from abair_pl.atomic import locked
from abair_pl.data.streaming.sources import is_remote
from abair_pl.errors import InputError
from abair_pl.modules.checkpoint_files import checkpoint_file, keep_newest, new_run, set_aside_after

_PATIENCE_S = {False: 15.0, True: 180.0}
"""How long a run waits for another one to end, outside of SLURM and in it."""

_PAUSE_S = 1.0


class RollingCheckpoint(Checkpoint):
    """Writes ``<root>/checkpoints/<phase>/run-<n>/step-<step>.ckpt`` and keeps the newest ones.

    A run that is resumed goes on in the folder of its checkpoint; each other one gets a folder of its own.

    Besides every few steps, there is a checkpoint before each validation, at the last step, and where the run is told
    to stop. Whether the validation was still to be done is in it, see :class:`~abair_pl.modules.trainer.PhaseTrainer`.

    Args:
        every_n_steps: Optimizer steps between two checkpoints.
        keep: How many are kept of a run.
        folder: In place of ``<root>/checkpoints``, such as a faster disk; all nodes must see it.

    Raises:
        InputError: A number is below 1.
    """

    def __init__(self, every_n_steps: int = 1000, keep: int = 3, folder: Path | None = None) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("keep", keep)):
            if value < 1:
                message = f"RollingCheckpoint.{name} is {value}; expected at least 1"
                raise InputError(message)
        self.every_n_steps = every_n_steps
        self.keep = keep
        self.folder = folder
        self.validation_due = False
        self.dirpath: Path | None = None  # of this run; ModelCheckpoint's name for it
        self._saved_step = -1
        self._held = ExitStack()

    def place(self, root: str | Path, phase: str) -> Path:
        """The folder of all runs of a phase.

        Args:
            root: ``trainer.default_root_dir``.
            phase: Such as ``adapter/rain``.

        Raises:
            InputError: The root is no folder of a file system.
        """
        if self.folder is None and is_remote(str(root)):
            message = f"checkpoints cannot be kept in {root}; expected a folder: set RollingCheckpoint's folder"
            raise InputError(message)
        return (self.folder or Path(root) / "checkpoints") / phase.replace("/", "-")

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the folder of the checkpoint that the run goes on from, or a new one.

        Raises:
            InputError: Another run writes there, or validations are counted by a clock, which ranks read differently.
        """
        if cast("Any", trainer)._val_check_time_interval is not None:
            message = "trainer.val_check_interval is a time; expected a number of steps, the same on all ranks"
            raise InputError(message)
        place = self.place(trainer.default_root_dir, cast("Any", pl_module).phase)
        resumed = Path(trainer.ckpt_path).parent if trainer.ckpt_path else None
        self._saved_step = -1
        if getattr(trainer, "fast_dev_run", False):
            self.dirpath = None
            return
        if trainer.is_global_zero:
            self._hold(place)
        if resumed is not None and resumed.resolve().parent == place.resolve():
            self.dirpath = resumed
        else:
            made = new_run(place) if trainer.is_global_zero else None
            self.dirpath = trainer.strategy.broadcast(made)

    def _hold(self, folder: Path) -> None:
        """Keep other runs of the phase from writing here, until this one ends, however it does.

        Loaders' processes of a run that was killed hold on for some seconds; on a cluster, a file system may take
        minutes to notice that a node has died.
        """
        end = time.monotonic() + _PATIENCE_S["SLURM_JOB_ID" in os.environ]
        while not self._is_held(folder):
            if time.monotonic() < end:
                time.sleep(_PAUSE_S)
                continue
            message = (
                f"another run writes its checkpoints into {folder}; expected one at a time: wait for it, or give this "
                "one its own --trainer.default_root_dir, --trainer.logger.save_dir and --model.save_to"
            )
            raise InputError(message)

    def _is_held(self, folder: Path) -> bool:
        try:
            held = self._held.enter_context(locked(folder, wait=False, tidy=True))
        except BlockingIOError:
            return False
        if not held:
            rank_zero_warn(f"{folder} cannot be locked on this file system: see to it that only this run writes there")
        return True

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Let other runs write here."""
        self._held.close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Let other runs write here."""
        self._held.close()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Set aside what the run had written after the step that it goes on from."""
        if self.dirpath is not None and trainer.is_global_zero:
            set_aside_after(self.dirpath, trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint where one is due."""
        step = trainer.global_step
        if self.dirpath is None or step == self._saved_step or trainer.fit_loop._should_accumulate():
            return
        loop = trainer.fit_loop.epoch_loop
        self.validation_due = loop._should_check_val_fx(cast("Any", trainer.fit_loop)._data_fetcher)
        last = step >= trainer.max_steps
        if step % self.every_n_steps == 0 or self.validation_due or last or cast("Any", pl_module).stop_agreed:
            self._saved_step = step
            trainer.save_checkpoint(checkpoint_file(self.dirpath, step), weights_only=False)  # with the optimizer
            cast("Any", pl_module).remember()
            if trainer.is_global_zero:
                keep_newest(self.dirpath, self.keep)
            self.validation_due = False

    def state_dict(self) -> dict[str, Any]:
        """Whether the validation of this step was still to be done."""
        return {"validation_due": self.validation_due}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The inverse of :meth:`state_dict`."""
        self.validation_due = bool(state_dict["validation_due"])
