"""Large images in overlapping tiles, blended so that no seam shows."""

from collections.abc import Callable

import torch
from torch import Tensor

from abair_pl.errors import InputError


def tiled(image: Tensor, restore: Callable[[Tensor], Tensor], tile_px: int, overlap_px: int) -> Tensor:
    """Run a function over tiles; weights that ramp up across the overlaps make the result continuous.

    Args:
        image: ``(1, 3, H, W)``.
        restore: From ``(1, 3, h, w)`` to ``(1, C, h, w)``.
        tile_px: Side of a tile; an image that fits is done at once.
        overlap_px: How far neighbouring tiles reach into each other.

    Returns:
        ``(1, C, H, W)``.

    Raises:
        InputError: The overlap is not smaller than half a tile.
    """
    if not 0 <= overlap_px * 2 < tile_px:
        message = f"overlap is {overlap_px} px and tile {tile_px} px; expected an overlap below half a tile"
        raise InputError(message)
    height, width = image.shape[2:]
    if max(height, width) <= tile_px:
        return restore(image)
    total: Tensor | None = None
    weight = image.new_zeros(1, 1, height, width)
    for top in _starts(height, tile_px, overlap_px):
        for left in _starts(width, tile_px, overlap_px):
            area = (..., slice(top, top + tile_px), slice(left, left + tile_px))
            tile = image[area]
            window = _ramp(tile.shape[2], overlap_px)[:, None] * _ramp(tile.shape[3], overlap_px)[None, :]
            window = window.to(image.device)
            done = restore(tile).float()
            if total is None:
                total = done.new_zeros(1, done.shape[1], height, width)
            total[area] += done * window
            weight[area] += window
    return image if total is None else total / weight


def _starts(side: int, tile_px: int, overlap_px: int) -> list[int]:
    """Where tiles start, evenly spread, with at least the overlap between neighbours."""
    if side <= tile_px:
        return [0]
    count = -(-(side - overlap_px) // (tile_px - overlap_px))
    return [round((side - tile_px) * index / (count - 1)) for index in range(count)]


def _ramp(side: int, overlap_px: int) -> Tensor:
    """1 in the middle, falling linearly to almost 0 at both ends."""
    distance = torch.minimum(torch.arange(side), torch.arange(side - 1, -1, -1)) + 1.0
    return (distance / (overlap_px + 1)).clamp(max=1.0)
