"""Large images in overlapping tiles that know the whole image, so that no seam shows."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from abair_pl.errors import InputError
from abair_pl.models.blend import BlendedBackbone
from abair_pl.models.whole_image import WholeImage

Box = tuple[int, int, int, int]
"""Top, left, bottom and right of a part of an image, in pixels."""

_SAMPLE_PX = 256
"""Side of the crops over which the whole image is pooled; their borders, where convolutions see zeros, are little."""

_MEASURED_TILES = 32
"""Tiles of a round of measuring, at most."""

_TILE_ROUNDS = 2
"""Rounds of measuring after the first, which sees crops."""


@dataclass(frozen=True)
class Tiling:
    """How an image is cut into tiles.

    Attributes:
        tile_px: Largest side of a tile; an image that fits is done at once.
        overlap_px: How far neighbouring tiles reach into each other, at least.
        stride_px: Tiles start at multiples of this.

    Raises:
        InputError: The overlap is not smaller than half a tile, or a tile smaller than the stride.
    """

    tile_px: int
    overlap_px: int
    stride_px: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.overlap_px * 2 < self.tile_px:
            message = (
                f"overlap is {self.overlap_px} px and tile {self.tile_px} px; expected an overlap below half a tile: "
                "lower --overlap-px or raise --tile-px"
            )
            raise InputError(message)
        if self.step_px < self.stride_px:
            message = (
                f"tile is {self.tile_px} px and overlap {self.overlap_px} px; this preset needs tiles of at least "
                f"{self.stride_px + self.overlap_px} px"
            )
            raise InputError(message)

    @property
    def step_px(self) -> int:
        """From one tile to the next."""
        return (self.tile_px - self.overlap_px) // self.stride_px * self.stride_px

    def fits(self, image: Tensor) -> bool:
        """Whether an image ``(B, C, H, W)`` is done at once."""
        return max(image.shape[2:]) <= self.tile_px

    def spans(self, side: int) -> list[tuple[int, int]]:
        """Start and end of the tiles along a side; the last one may be shorter."""
        if side <= self.tile_px:
            return [(0, side)]
        last = -(-(side - self.tile_px) // self.stride_px)  # in strides, as what follows
        gaps = -(-last // (self.step_px // self.stride_px))
        starts = [last * index // gaps * self.stride_px for index in range(gaps + 1)]
        return [(start, min(start + self.tile_px, side)) for start in starts]


@dataclass(frozen=True)
class Tile:
    """A part of an image.

    Attributes:
        box: Where it lies.
        window: ``(h, w)``, what its pixels count: at each pixel of the image, the tiles' windows sum to 1.
    """

    box: Box
    window: Tensor

    def cut(self, image: Tensor) -> Tensor:
        """The tile of ``(B, C, H, W)``, a view."""
        top, left, bottom, right = self.box
        return image[..., top:bottom, left:right]


def cut_into_tiles(height: int, width: int, tiling: Tiling) -> Iterator[Tile]:
    """The tiles of an image, row by row."""
    rows, columns = (_ramps(tiling.spans(side), tiling.overlap_px) for side in (height, width))
    for (top, bottom), row in rows:
        for (left, right), column in columns:
            yield Tile((top, left, bottom, right), row[:, None] * column[None, :])


def tiled(image: Tensor, restore: Callable[[Tensor, Tile], Tensor], tiling: Tiling) -> Tensor:
    """Run a function over tiles and join the results by their windows.

    Args:
        image: ``(1, 3, H, W)``.
        restore: From the pixels of a tile, ``(1, 3, h, w)``, to ``(1, C, h, w)`` on any device.
        tiling: How the image is cut.

    Returns:
        ``(1, C, H, W)`` float32 on the image's device.
    """
    total = torch.empty(0)
    for index, tile in enumerate(cut_into_tiles(image.shape[2], image.shape[3], tiling)):
        done = restore(tile.cut(image), tile).float().to(image.device)
        if index == 0:
            shape = (1, done.shape[1], *image.shape[2:])
            total = torch.empty(shape, device=image.device, memory_format=torch.channels_last).zero_()
        tile.cut(total).addcmul_(done, tile.window.to(image.device))
    return total


def _ramps(spans: list[tuple[int, int]], overlap_px: int) -> list[tuple[tuple[int, int], Tensor]]:
    """For each tile along a side the weights of its pixels; over all tiles they sum to 1.

    At an end inside the image the outer 7/16 of the overlap, where the tile lacks its surroundings, count next to
    nothing; from there the weight rises linearly.
    """
    side, margin = spans[-1][1], overlap_px * 0.4375
    total = torch.zeros(side)
    ramps = []
    for start, end in spans:
        positions = torch.arange(start, end) + 0.5
        ramp = torch.ones(end - start)
        if start > 0:
            ramp = torch.minimum(ramp, (positions - start - margin) / (overlap_px / 8.0 + 1e-6))
        if end < side:
            ramp = torch.minimum(ramp, (end - positions - margin) / (overlap_px / 8.0 + 1e-6))
        ramps.append(ramp.clamp(1e-6, 1.0))
        total[start:end] += ramps[-1]
    return [((start, end), ramp / total[start:end]) for (start, end), ramp in zip(spans, ramps, strict=True)]


def restore_large(
    restorer: BlendedBackbone, image: Tensor, restore: Callable[[Tensor], Tensor], tiling: Tiling, device: torch.device
) -> Tensor:
    """Restore an image in tiles that share what the backbone pools over all pixels, see :class:`WholeImage`.

    It is pooled over in three rounds: a few crops at once, then twice all tiles one after the other, or 32 of them,
    spread over the image. Each round brings tiles about ten times nearer to what the whole image at once would give.

    Args:
        restorer: What ``restore`` calls.
        image: ``(1, 3, H, W)`` RGB in [0, 1].
        restore: From ``(B, 3, h, w)``, parts of the image on the device, to ``(B, C, h, w)``.
        tiling: How the image is cut; its stride is the backbone's.
        device: Where parts are restored.

    Returns:
        ``(1, C, H, W)`` float32 on the image's device.
    """
    multiple = restorer.backbone.architecture.multiple_px
    height, width = image.shape[2:]
    sides = torch.tensor([_rounded_up(side, multiple) for side in (height, width)] * 2)
    whole = WholeImage()

    def run(part: Tensor, tiles: list[Tile]) -> Tensor:
        shape = [_rounded_up(side, multiple) for side in part.shape[2:]]
        corners = torch.tensor([tile.box[:2] for tile in tiles])
        counts = torch.stack([_counts(tile, shape, (height, width)) for tile in tiles])[:, None]
        whole.look_at(torch.cat((corners, corners + torch.tensor(shape)), dim=1) / sides, counts.to(device))
        return restore(part.to(device, memory_format=torch.channels_last))

    restorer.share(whole)
    try:
        crops = _sample(height, width, tiling)
        run(torch.cat([crop.cut(image) for crop in crops]), crops)
        whole.end_round(last=False)
        tiles = list(cut_into_tiles(height, width, tiling))
        for rounds_left in reversed(range(_TILE_ROUNDS)):
            for tile in _spread(tiles, _MEASURED_TILES):
                run(tile.cut(image), [tile])
            whole.end_round(last=rounds_left == 0)
        return tiled(image, lambda pixels, tile: run(pixels, [tile]), tiling)
    finally:
        restorer.share(None)


def _counts(tile: Tile, shape: list[int], image: tuple[int, int]) -> Tensor:
    """What the pixels of a padded tile count: the padding beyond the image as in the whole, any other not at all."""
    _, _, bottom, right = tile.box
    below, beside = shape[0] - tile.window.shape[0], shape[1] - tile.window.shape[1]
    window = F.pad(tile.window[None, None], (0, beside, 0, below), mode="replicate")[0, 0]
    if bottom < image[0]:
        window[tile.window.shape[0] :] = 0.0
    if right < image[1]:
        window[:, tile.window.shape[1] :] = 0.0
    return window


def _spread(tiles: list[Tile], most: int) -> list[Tile]:
    """Up to so many tiles: one at random, but always the same, of each of as many equal stretches."""
    if len(tiles) <= most:
        return tiles
    places = (torch.arange(most) + torch.rand(most, generator=torch.Generator().manual_seed(0))) * len(tiles) / most
    return [tiles[index] for index in places.long().unique().tolist()]


def _sample(height: int, width: int, tiling: Tiling) -> list[Tile]:
    """Crops of equal size, evenly spread, together as large as a tile at most."""
    crop_px = max(min(_SAMPLE_PX, tiling.tile_px) // tiling.stride_px, 1) * tiling.stride_px
    sides = min(crop_px, height), min(crop_px, width)
    most = max(tiling.tile_px**2 // crop_px**2, 1)
    rows = min(max(round(math.sqrt(most * height / width)), 1), most, height // sides[0])
    columns = min(max(most // rows, 1), width // sides[1])
    tops, lefts = (
        [
            (full - side) * (2 * index + 1) // (2 * count) // tiling.stride_px * tiling.stride_px
            for index in range(count)
        ]
        for full, side, count in ((height, sides[0], rows), (width, sides[1], columns))
    )
    window = torch.ones(sides)
    return [Tile((top, left, top + sides[0], left + sides[1]), window) for top in tops for left in lefts]


def _rounded_up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
