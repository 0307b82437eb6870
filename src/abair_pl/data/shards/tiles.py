"""Overlapping tiles that cover a photograph, so that a crop costs the decoding of a tile and not of the whole."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from abair_pl.errors import InputError

TILE_SUFFIX = "bmp"  # a PNG takes seven times as long to decode, which two cores notice
DEPTH_SUFFIX = "png"  # of 16 bits


@dataclass(frozen=True)
class Tiling:
    """How photographs are cut.

    Attributes:
        tile_px: Side of a tile; a photograph that is smaller is one tile, as large as it is.
        overlap_px: Least overlap of two neighbours; it is more where tiles would not end at the edge.

    Raises:
        InputError: A number is out of bounds.
    """

    tile_px: int
    overlap_px: int

    def __post_init__(self) -> None:
        if self.tile_px < 1:
            message = f"tile_px is {self.tile_px}; expected at least 1"
            raise InputError(message)
        if not 0 <= self.overlap_px < self.tile_px:
            message = f"tile_overlap_px is {self.overlap_px}; expected 0 to {self.tile_px - 1}, less than tile_px"
            raise InputError(message)

    def corners(self, size_px: tuple[int, int]) -> list[tuple[int, int]]:
        """Top and left of the fewest tiles that cover a height and width, row by row, evenly spread.

        Examples:
            >>> Tiling(256, 64).corners((256, 500))
            [(0, 0), (0, 122), (0, 244)]
        """
        height, width = size_px
        return [(top, left) for top in self._starts(height) for left in self._starts(width)]

    def cut(self, pixels: NDArray[Any], corner: tuple[int, int]) -> NDArray[Any]:
        """The tile of ``(H, W, ...)`` pixels at a corner."""
        top, left = corner
        return pixels[top : top + self.tile_px, left : left + self.tile_px]

    def _starts(self, side: int) -> list[int]:
        rest = side - self.tile_px
        steps = -(-max(rest, 0) // (self.tile_px - self.overlap_px))
        return [round(rest * step / steps) for step in range(steps + 1)] if steps else [0]


def tile_key(key: str, corner: tuple[int, int]) -> str:
    """The name of a photograph's tile.

    Examples:
        >>> tile_key("rocket", (0, 192))
        'rocket-0000-0192'
    """
    top, left = corner
    return f"{key}-{top:04d}-{left:04d}"


def encode_tile(tile: NDArray[Any]) -> tuple[bytes, str]:
    """A tile's file without loss, and its suffix.

    Args:
        tile: ``(H, W, 3)`` 8-bit RGB; or depth ``(H, W)``, of 16 bits or float32 in [0, 1].
    """
    is_depth = tile.ndim == 2
    if is_depth and tile.dtype != np.uint16:
        tile = np.round(tile * 65535.0).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(tile).save(buffer, "PNG" if is_depth else "BMP")
    return buffer.getvalue(), DEPTH_SUFFIX if is_depth else TILE_SUFFIX
