"""How a network is run in training: what changes its speed and memory, and not its results."""

from dataclasses import dataclass

import torch
from torch import nn

from abair_pl.models.backbone import Backbone
from abair_pl.models.layers import RestorationBlock

_SHAPES = 64
"""Block widths times image sizes that a run may compile for; PyTorch gives up after 8, which one U alone has."""


@dataclass(frozen=True)
class ExecutionConfig:
    """How a network is run; a checkpoint may be resumed with other values.

    Attributes:
        compile: Compile each block by ``torch.compile``, in place, so that names of weights stay as they are. Pays on
            GPUs; on CPUs it takes minutes to start and gains little.
        checkpointing: Keep only what enters each block for the backward pass, and compute the rest again: about a third
            more time for a fraction of the memory.
    """

    compile: bool = False
    checkpointing: bool = False

    def apply_to(self, network: nn.Module) -> None:
        """Set up every backbone inside a network, with adapters or without."""
        for module in network.modules():
            if isinstance(module, Backbone):
                module.checkpointing = self.checkpointing
            if isinstance(module, RestorationBlock) and self.compile:
                torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _SHAPES)
                module.compile(dynamic=False)
