"""How large tiles may be, and what it looks like when memory runs out."""

import math
from collections.abc import Sequence

import torch

from abair_pl.models.presets import BackboneConfig

_USUAL_PX = 512
_MULTIPLE_PX = 64
_LEAST_PX = 128
_CPU_BYTES = 1 << 30
_GPU_SHARE = 0.6
_BYTES_A_CHANNEL = 170
"""What a network takes at most for each pixel and each channel at full resolution, as measured with the presets."""

_BYTES_OF_IMAGE = 32
"""For each pixel of an image that lies on the CPU: itself, its result and its files."""

_SIGNS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED", "bad allocation")


def fitting_tile_px(shape: Sequence[int], architecture: BackboneConfig, device: torch.device) -> int:
    """The side of tiles for an image: all of it at once where that takes little memory.

    On a CPU an image and its tiles are meant to take a gibibyte together, whatever the machine has, and on a GPU tiles
    60 % of what is free. Tiles are never made smaller than 512 pixels for that.

    Args:
        shape: ``(B, 3, H, W)``.
        architecture: Of the backbone.
        device: Where tiles are restored.
    """
    height, width = shape[2:]
    pixel_bytes = _BYTES_A_CHANNEL * architecture.dim / architecture.unshuffle**2
    if device.type == "cpu":
        free_bytes = max(_CPU_BYTES - _BYTES_OF_IMAGE * height * width, 0)
    else:
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by PyTorch, to be used again
        free_bytes = round((torch.cuda.mem_get_info(device)[0] + kept) * _GPU_SHARE)
    if height * width * pixel_bytes <= free_bytes:
        return max(height, width, _USUAL_PX)
    return max(math.isqrt(int(free_bytes / pixel_bytes)) // _MULTIPLE_PX * _MULTIPLE_PX, _USUAL_PX)


def smaller_tile_px(tile_px: int, stride_px: int) -> int | None:
    """The side of the tiles to try after those that were too large; None where there are no smaller ones.

    Args:
        tile_px: The side that was too large.
        stride_px: Tiles start at multiples of this.
    """
    least = max(_LEAST_PX, 2 * stride_px)
    return max(tile_px // 2, least) if tile_px > least else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)
