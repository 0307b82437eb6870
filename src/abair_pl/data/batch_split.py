"""How a batch is split over devices and accumulated batches, and how the trainer is set up for it."""

from dataclasses import dataclass
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn

from abair_pl.errors import InputError


@dataclass(frozen=True)
class BatchSplit:
    """A batch of one optimizer step in its parts.

    Attributes:
        devices: Over all nodes.
        accumulated: Batches that a device takes one after the other, before the optimizer steps.
        each: Photographs in each of them.
    """

    devices: int
    accumulated: int
    each: int

    def __str__(self) -> str:
        whole = self.devices * self.accumulated * self.each
        return f"batch of {whole} = {self.devices} devices x {self.accumulated} accumulated batches x {self.each}"


def split_batch(batch_size: int, devices: int, largest: int | None = None, accumulated: int = 1) -> BatchSplit:
    """Split a batch over devices, as evenly as it has to be.

    >>> print(split_batch(256, devices=8, largest=16))
    batch of 256 = 8 devices x 2 accumulated batches x 16

    Args:
        batch_size: Photographs in an optimizer step.
        devices: Over all nodes.
        largest: The most photographs that a device takes at once; no limit if None.
        accumulated: Batches to accumulate, if it is the user's to say; with 1 it follows from ``largest``.

    Returns:
        The split with the fewest accumulated batches.

    Raises:
        InputError: The batch does not divide, or the user's number is too small for ``largest``.
    """
    parts = devices * accumulated
    if batch_size % parts:
        near = [value for value in (batch_size // parts * parts, (batch_size // parts + 1) * parts) if value]
        message = (
            f"batch_size {batch_size} does not divide over {devices} devices x {accumulated} accumulated batches; "
            f"expected a multiple of {parts}: set --data.batch_size {' or '.join(map(str, near))}"
        )
        if accumulated == 1:
            message += f", or train on {_largest_divisor(batch_size, devices)} devices"
        raise InputError(message)
    share = batch_size // devices
    needed = 1 if largest is None else _fewest_parts(share, largest)
    if accumulated == 1:
        split = BatchSplit(devices, needed, share // needed)
        _warn_of_a_thin_split(split, share, largest)
        return split
    if largest is not None and share // accumulated > largest:
        message = (
            f"trainer.accumulate_grad_batches is {accumulated}, so that a device takes {share // accumulated} "
            f"photographs at once, and data.device_batch_size is {largest}; expected {needed} accumulated batches: "
            "leave out one of the two"
        )
        raise InputError(message)
    return BatchSplit(devices, accumulated, share // accumulated)


def _largest_divisor(number: int, at_most: int) -> int:
    return next(value for value in range(min(at_most, number), 0, -1) if number % value == 0)


def _fewest_parts(number: int, largest: int) -> int:
    return number // _largest_divisor(number, largest)


def _warn_of_a_thin_split(split: BatchSplit, share: int, largest: int | None) -> None:
    if largest is None or 2 * split.each >= min(share, largest):
        return
    near = [split.devices * largest * times for times in (share // largest, share // largest + 1)]
    rank_zero_warn(
        f"{split}: {share} photographs a device have no larger part of at most {largest} (data.device_batch_size); "
        f"--data.batch_size {near[0]} or {near[1]} would fill the devices"
    )


class TrainerOfSplit:
    """Makes a trainer accumulate, and validate after as many optimizer steps as it would without.

    Lightning counts ``val_check_interval`` in batches, so it is multiplied where the trainer does not count epochs.
    """

    def __init__(self) -> None:
        self._trainer: Any = None
        self._given = 1
        self._interval: int | float | None = None
        self._loaded = 0

    def given(self, trainer: Any) -> int:
        """Batches to accumulate as the user set it, also where this trainer has been set up before."""
        if trainer is not self._trainer:
            self._trainer, self._given = trainer, trainer.accumulate_grad_batches
            self._interval = getattr(trainer, "val_check_interval", None)
        return self._given

    def set_up(self, trainer: Any, split: BatchSplit) -> None:
        """Make a trainer follow a split, before it makes its loaders."""
        self.given(trainer)
        trainer.accumulate_grad_batches = split.accumulated
        if isinstance(self._interval, int) and trainer.check_val_every_n_epoch is None:
            trainer.val_check_interval = self._interval * split.accumulated

    def load(self, accumulated: int) -> None:
        """Keep how many batches a checkpoint's run accumulated, until :meth:`recount`."""
        self._loaded = accumulated

    def recount(self, trainer: Any) -> None:
        """Count the batches that a checkpoint's run has had as if they had been split as they are now.

        Or the first step would have fewer photographs, and validations would come after other numbers of steps.
        """
        before, now = self._loaded, trainer.accumulate_grad_batches
        self._loaded = 0
        if before in (0, now):
            return
        progress = trainer.fit_loop.epoch_loop.batch_progress
        for counts in (progress.total, progress.current):
            open_batches = counts.processed - counts.completed
            counts.ready = counts.started = counts.processed = counts.ready // before * now
            counts.completed = counts.processed - open_batches
