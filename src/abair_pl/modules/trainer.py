"""Lightning's trainer, which finds the newest checkpoint, and catches up on a validation that one left to be done."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, cast

import lightning as L
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.trainer.connectors.signal_connector import _SignalConnector
from lightning.pytorch.utilities import rank_zero_info

from abair_pl.errors import InputError
from abair_pl.modules.callbacks.checkpoints import RollingCheckpoint
from abair_pl.modules.checkpoint_files import AtomicCheckpointIO, newest_checkpoint
from abair_pl.processor import has_bf16

Resume = Literal["auto", "never"]


class _NoSignals(_SignalConnector):
    """Listens to nothing: Lightning's handlers call other ranks from inside a handler; PreemptionHandler listens."""

    def register_signal_handlers(self) -> None:
        """Leave all as they are; there is nothing to put back, then."""


class PhaseTrainer(L.Trainer):
    """A trainer that writes checkpoints in one step, and leaves out no validation when it is resumed.

    Lightning takes a validation as done where the checkpoint was written before it; phase III, whose last validation
    calibrates what is saved, would end without one where the program was killed in it. On a CPU without instructions
    for bfloat16, ``bf16-mixed`` becomes ``32-true``: emulated, a convolution was seen to take 80 times as long.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if type(self.strategy.checkpoint_io) is TorchCheckpointIO:
            self.strategy.checkpoint_io = AtomicCheckpointIO()
        mixed = type(self.strategy.precision_plugin) is MixedPrecision and self.precision == "bf16-mixed"
        if mixed and isinstance(self.accelerator, CPUAccelerator) and not has_bf16():
            rank_zero_info("this CPU has no instructions for bfloat16, as far as it tells: going on in 32-true instead")
            self.strategy.precision_plugin = Precision()
        self._signal_connector = _NoSignals(self)

    def fit(self, model: Any, *arguments: Any, resume: Resume = "never", **options: Any) -> None:
        """Train a phase.

        Args:
            model: The module.
            arguments: As Lightning's.
            resume: ``auto`` goes on from the newest whole checkpoint of this phase in ``default_root_dir``, or starts
                anew where there is none; ``never`` starts anew, or from ``ckpt_path``.
            options: As Lightning's.

        Raises:
            InputError: ``auto`` is given with ``ckpt_path``, or without a RollingCheckpoint.
        """
        if resume == "auto":
            given = options.get("ckpt_path")
            options["ckpt_path"] = resume_from(cast("Any", self).callbacks, self.default_root_dir, model.phase, given)
        super().fit(model, *arguments, **options)

    def _run_sanity_check(self) -> None:
        """Validate before training: a few batches to see that it works, or in full where it is still to be done."""
        due = [
            each for each in self.checkpoint_callbacks if isinstance(each, RollingCheckpoint) and each.validation_due
        ]
        if not due or not self.enable_validation:
            super()._run_sanity_check()
            return
        loop = self.fit_loop.epoch_loop.val_loop
        stage, self.validating = self.state.stage, True
        loop.restarting = False
        loop.run()
        self.state.stage = stage
        for callback in due:
            callback.validation_due = False


def resume_from(
    callbacks: Iterable[Any] | None, root: str | Path, phase: str, given: str | Path | None = None
) -> Path | None:
    """The checkpoint that ``--resume auto`` goes on from, or None for a new start.

    Args:
        callbacks: Of the trainer.
        root: Its ``default_root_dir``.
        phase: Such as ``adapter/rain``.
        given: The checkpoint that ``--ckpt_path`` names.

    Raises:
        InputError: One is named, or no callback writes checkpoints that can be found again.
    """
    if given is not None:
        message = f"both --resume auto and --ckpt_path {given} are given; expected one of them"
        raise InputError(message)
    rolling = [callback for callback in callbacks or () if isinstance(callback, RollingCheckpoint)]
    if not rolling:
        message = (
            "--resume auto finds nothing without a RollingCheckpoint in trainer.callbacks; add one, as in configs/"
        )
        raise InputError(message)
    place = rolling[0].place(root, phase)
    found = newest_checkpoint(place)
    none = "no whole checkpoint" if any(place.glob("*/*.ckpt")) else "no checkpoint"
    rank_zero_info(f"going on from {found}" if found else f"{none} in {place}: starting anew")
    return found
