"""Checkpoints for tests: small ones, and one that would run code where it is unpickled."""

from pathlib import Path
from typing import Any

import torch

from abair_pl.modules.checkpoint_files import AtomicCheckpointIO, checkpoint_file

WEIGHT = torch.linspace(0.1, 0.9, 999)
"""Bytes that are found nowhere else in a checkpoint."""


def checkpoint(step: int = 0, size: int = 0) -> dict[str, Any]:
    return {"global_step": step, "state_dict": {"weight": WEIGHT, "filler": torch.zeros(size, dtype=torch.uint8)}}


def write(folder: Path, step: int) -> Path:
    path = checkpoint_file(folder, step)
    AtomicCheckpointIO().save_checkpoint(checkpoint(step), path)
    return path


class Executed:
    """A file appears where this is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)
