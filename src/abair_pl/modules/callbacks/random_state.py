"""The random states of all ranks, in checkpoints."""

import base64
import itertools
import random
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback

from abair_pl.data.streaming.ranks import gather

_calls = itertools.count()


class RandomStates(Callback):
    """Keeps Python's, NumPy's and PyTorch's random states of every rank in checkpoints, and takes them up again.

    With another number of ranks than before, they are left as the seed has made them.
    """

    def __init__(self) -> None:
        self._ranks: list[dict[str, Any]] | None = None
        self._rank, self._world_size = 0, 1

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Know the ranks."""
        self._rank, self._world_size = trainer.global_rank, trainer.world_size

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take up the state of a checkpoint."""
        if self._ranks is not None and len(self._ranks) == trainer.world_size:
            _set(self._ranks[trainer.global_rank])
        self._ranks = None

    def state_dict(self) -> dict[str, Any]:
        """The states of all ranks, on rank 0; Lightning calls this on each."""
        ranks = gather(f"random/{next(_calls)}", _get(), self._rank, self._world_size)
        return {"ranks": ranks or []}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the states until training starts."""
        self._ranks = state_dict["ranks"]


def _get() -> dict[str, Any]:
    """The states of this process as JSON has them."""
    version, numbers, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - what libraries use
    states = [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "torch": [base64.b64encode(state.numpy().tobytes()).decode() for state in states],
    }


def _set(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002 - what libraries use
    cpu, *gpus = (torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8) for text in state["torch"])
    torch.set_rng_state(cpu)
    if torch.cuda.is_available() and len(gpus) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(gpus)
