"""The processes of a benchmark: what one of them cannot do ends all of them, with its error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy

from abair_pl.errors import AbairError, InputError
from abair_pl.restore_options import check_device

_Made = TypeVar("_Made")
_PATIENCE = timedelta(days=7)  # one process may have much more to do than another


class Processes:
    """One process, or several that Lightning starts, or that SLURM or torchrun have started.

    Args:
        device: ``auto`` takes a GPU where there is one.
        devices: Processes on this machine, of a GPU each where there are any.
        nodes: Machines.

    Raises:
        InputError: A number is below 1, or there is no such device.
    """

    def __init__(self, device: Literal["auto", "cpu", "cuda"], devices: int, nodes: int) -> None:
        if devices < 1 or nodes < 1:
            message = f"devices are {devices} and nodes {nodes}; expected at least 1 of each"
            raise InputError(message)
        check_device(device)
        strategy = DDPStrategy(timeout=_PATIENCE) if devices * nodes > 1 else "auto"
        self._fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy=strategy)
        self._fabric.launch()

    @property
    def rank(self) -> int:
        """Of this process."""
        return self._fabric.global_rank

    @property
    def count(self) -> int:
        """How many there are."""
        return self._fabric.world_size

    @contextmanager
    def on_one_thread(self) -> Iterator[None]:
        """On a CPU, compute with one thread: how libraries share a sum among threads shows in its last digits.

        So any number of processes finds the same numbers; several of them use several cores.
        """
        before = torch.get_num_threads()
        if self._fabric.device.type == "cpu":
            torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def together(self, work: Callable[[], _Made]) -> _Made:
        """Do a piece of work in all processes, and wait until all have done it.

        Raises:
            AbairError: That of the first process that failed; or another one has ended without a word.
        """
        made: list[_Made] = []
        error: AbairError | None = None
        try:
            made.append(work())
        except AbairError as raised:
            error = raised
        if self.count > 1:
            errors: list[AbairError | None] = [None] * self.count
            try:
                dist.all_gather_object(errors, error)
            except RuntimeError as lost:
                message = f"another process has ended ({str(lost).splitlines()[0]}); run the same command again"
                raise AbairError(message) from lost
            error = next((each for each in errors if each is not None), None)
        if error is not None:
            raise error
        return made[0]
