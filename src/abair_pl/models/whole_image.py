"""What the backbone pools over all pixels, shared by the tiles of one image."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Pooled = tuple[Tensor, ...]
Measure = Callable[[Tensor | None], Pooled]
"""From ``(B, 1, h, w)``, what each pixel counts, or None, to what is pooled over the pixels of each image."""


class WholeImage:
    """What the pooling layers of a backbone have pooled over one image, for use on parts of it.

    Channel attention weighs channels by their products summed over all pixels, and prompts are chosen by the features'
    mean. A tile that pooled for itself would be restored unlike its neighbours. So the image is measured first, part by
    part, and then all tiles use what was pooled: they are restored by one and the same function, and no seam can show.

    Measuring goes by rounds. In the first one parts must be small enough for a single batch, since each layer needs
    what the layers before it have pooled; in a further one they are seen one after the other, with what the round
    before has pooled.

    Attributes:
        areas: ``(B, 4)`` top, left, bottom and right of the parts that are seen, as fractions of the image.
        run: The name of the pass through the backbone; each is pooled over by itself.
        measuring: Whether parts are pooled over.
    """

    def __init__(self) -> None:
        self.areas = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        self.run = ""
        self.measuring = True
        self._counts: Tensor | None = None
        self._total = 0.0
        self._sums: dict[tuple[str, PoolingLayer], Pooled] = {}
        self._used: dict[tuple[str, PoolingLayer], Pooled] = {}

    def look_at(self, areas: Tensor, counts: Tensor) -> None:
        """Turn to other parts of the image.

        Args:
            areas: ``(B, 4)``.
            counts: ``(B, 1, H, W)``, how much each of their pixels counts while measuring.
        """
        self.areas = areas
        self._counts = counts
        self._total += float(counts.sum())

    def end_round(self, last: bool) -> None:
        """Use what has been pooled since the last call; after the last round nothing is pooled any more."""
        self._used = {key: tuple(value / self._total for value in sums) for key, sums in self._sums.items()}
        self._sums, self._total = {}, 0.0
        self.measuring = not last

    def pool(self, layer: "PoolingLayer", measure: Measure, size: tuple[int, int]) -> Pooled:
        """What a layer of size ``(h, w)`` pooled over the image, ``(1, ...)`` each."""
        key = self.run, layer
        if self.measuring and self._counts is not None:
            area = self._counts.shape[2] * self._counts.shape[3] / (size[0] * size[1])
            sums = tuple(
                value.sum(dim=0, keepdim=True) for value in measure(F.adaptive_avg_pool2d(self._counts, size) * area)
            )
            before = self._sums.get(key)
            self._sums[key] = sums if before is None else tuple(map(torch.add, before, sums))
            if key not in self._used:
                return tuple(value / self._total for value in sums)
        return self._used[key]


class PoolingLayer(nn.Module):
    """Base of layers that pool over all pixels of an image.

    Attributes:
        whole: The image of which inputs are parts; None, as in training, where each input is an image.
    """

    def __init__(self) -> None:
        super().__init__()
        self.whole: WholeImage | None = None

    def pool(self, measure: Measure, x: Tensor) -> Pooled:
        """What is pooled over each image ``x`` ``(B, C, h, w)``, or over the image that all of them are parts of.

        Args:
            measure: Gives means over the pixels if called with None, or sums of what each pixel counts.
            x: For its size.
        """
        return measure(None) if self.whole is None else self.whole.pool(self, measure, (x.shape[2], x.shape[3]))


def pixel_mean(x: Tensor, counts: Tensor | None) -> Tensor:
    """The mean over the pixels of ``(B, C, h, w)``, or the sum of what they count, as ``(B, C)``."""
    return x.mean(dim=(2, 3)) if counts is None else (x * counts.to(x.dtype)).sum(dim=(2, 3))
