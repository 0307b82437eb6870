"""From the host to a device, in as few transfers as can be."""

from collections.abc import Mapping
from functools import lru_cache

import torch
from torch import Tensor


def moved(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Tensors on a device, in one transfer for each dtype instead of one for each tensor; none waits for the device.

    Args:
        tensors: On the CPU.
        device: Where to.
    """
    if device.type == "cpu":
        return dict(tensors)
    here: dict[str, Tensor] = {}
    for dtype in {tensor.dtype for tensor in tensors.values()}:
        same = {name: tensor for name, tensor in tensors.items() if tensor.dtype == dtype}
        packed = torch.cat([tensor.flatten() for tensor in same.values()])
        packed = packed.pin_memory() if device.type == "cuda" else packed
        pieces = packed.to(device, non_blocking=True).split([tensor.numel() for tensor in same.values()])
        here |= {name: piece.view(same[name].shape) for name, piece in zip(same, pieces, strict=True)}
    return here


@lru_cache(maxsize=64)
def constant(values: tuple[float, ...] | tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """Numbers on a device, transferred once; not to be changed."""
    return torch.tensor(values, dtype=torch.float32, device=device)
