"""The part of an image that is worth looking at."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from abair_pl.evaluation.results import Example


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels.

    Attributes:
        top: First row.
        left: First column.
        height: Rows.
        width: Columns.
    """

    top: int
    left: int
    height: int
    width: int

    def of(self, image: Tensor) -> Tensor:
        """Its pixels of an image ``(3, H, W)``."""
        return image[:, self.top : self.top + self.height, self.left : self.left + self.width]


def most_changed(example: Example, method: str, side_px: int) -> Region:
    """The square in which a method changed the input most, on average over its pixels.

    Args:
        example: The images.
        method: Whose change; if it restored nothing here, that of the clean image.
        side_px: Side of the square, which is cut to the image where that is smaller.
    """
    changed = example.restored.get(method, example.clean)
    change = (changed - example.degraded).abs().mean(dim=0, dtype=torch.float64)
    height, width = (min(side_px, side) for side in change.shape)
    sums = F.pad(change.cumsum(0).cumsum(1), (1, 0, 1, 0))
    inside = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = divmod(int(inside.argmax()), inside.shape[1])
    return Region(top, left, height, width)
