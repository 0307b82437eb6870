"""The state that a run goes back to when steps go wrong."""

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class LastGood:
    """A copy, in main memory, of tensors and of an optimizer's state, as they were at the last checkpoint.

    Each rank has its own, all alike, so that going back needs no file and no other rank.
    """

    def __init__(self) -> None:
        self._tensors: list[Tensor] = []
        self._optimizer: dict[str, Any] = {}

    @torch.no_grad()
    def remember(self, tensors: Iterable[Tensor], optimizer: Optimizer) -> None:
        """Copy the state.

        Args:
            tensors: Weights that are trained, and their averages.
            optimizer: What trains them.
        """
        self._tensors, self._optimizer = [], {}  # before there are two of them
        self._tensors = [tensor.detach().cpu().clone() for tensor in tensors]
        self._optimizer = _on_cpu(optimizer.state_dict())

    @torch.no_grad()
    def bring_back(self, tensors: Iterable[Tensor], optimizer: Optimizer) -> None:
        """Copy the state back into the tensors of :meth:`remember`, in the same order, and into the optimizer."""
        for tensor, kept in zip(tensors, self._tensors, strict=True):
            tensor.copy_(kept)
        optimizer.load_state_dict(deepcopy(self._optimizer))


def _on_cpu(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {name: _on_cpu(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_on_cpu(entry) for entry in value]
    return value
