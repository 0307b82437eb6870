"""Tone apart from texture: one gain and offset for each coarse cell of an image."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from abair_pl.models.whole_image import PoolingLayer, pixel_mean

CELL_STATISTICS = 12
_DARKEST = 0.02
_SENSITIVITY = 3.0
"""Of the output to its last layer: a tone is far from the identity, where training starts, and texture is near it."""


class ToneHead(PoolingLayer):
    """Brightens, darkens and stretches an image before the network adds its residual.

    ``image * (1 + shift / m) + offset``, with ``m`` the mean of the whole image and the colours' ``shift`` and
    ``offset`` in (-1, 1) predicted for cells and interpolated between them: ``shift`` is about the change of the mean,
    whether the image is dark or bright. Haze is undone by a gain and a negative offset (Koschmieder's law solved for
    the scene), low light by a gain. All is predicted from :func:`cell_statistics` of the cell and their means over the
    image, by point-wise layers that adapters can update.

    A residual alone, or a gain by which dark pixels are multiplied, learns tone late: dark images give it small
    gradients, which those of bright ones drown.

    Args:
        dim: Channels of the hidden layers.
        cell_px: Side of a cell; images are multiples of it.
    """

    def __init__(self, dim: int, cell_px: int) -> None:
        super().__init__()
        self.cell_px = cell_px
        self.describe = nn.Conv2d(2 * CELL_STATISTICS, dim, 1)
        self.mix = nn.Conv2d(dim, dim, 1)
        self.predict = nn.Conv2d(dim, 6, 1)
        for parameter in self.predict.parameters():
            nn.init.zeros_(parameter)  # the untrained head is the identity

    def forward(self, image: Tensor) -> Tensor:
        """The image in its new tone, ``(B, 3, H, W)``, not clamped, in float32 or better.

        Args:
            image: ``(B, 3, H, W)`` RGB in [0, 1].
        """
        device, exact = image.device.type, image.to(torch.promote_types(image.dtype, torch.float32))
        # Some devices, such as "meta", have no autocast; and where it is off an exported graph has no part without it.
        if not (torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)):
            return self._changed(exact)
        with torch.autocast(device, enabled=False):  # what bfloat16 rounds off a gain would show as steps
            return self._changed(exact)

    def _changed(self, image: Tensor) -> Tensor:
        cells = cell_statistics(image, self.cell_px)
        (mean,) = self.pool(lambda counts: (pixel_mean(cells, counts),), cells)
        everywhere = mean[:, :, None, None].expand_as(cells)
        hidden = F.gelu(self.mix(F.gelu(self.describe(torch.cat((cells, everywhere), dim=1)))))
        tone = (_SENSITIVITY * self.predict(hidden)).tanh()
        shift, offset = self.between_cells(tone).chunk(2, dim=1)
        brightness = mean[:, :3].mean(dim=1).view(-1, 1, 1, 1) + _DARKEST
        return image * (1.0 + shift / brightness) + offset

    def between_cells(self, tone: Tensor) -> Tensor:
        """From the centres of cells ``(B, C, h, w)`` to all pixels, linearly, held at the borders."""
        return F.interpolate(tone, (tone.shape[2] * self.cell_px, tone.shape[3] * self.cell_px), mode="bilinear")


def cell_statistics(image: Tensor, cell_px: int) -> Tensor:
    """Of the pixels of each cell, by colour: their mean, half of its logarithm, the least and the largest.

    The least of the colours' least is the dark channel, which haze lifts (He et al., CVPR 2009).

    Args:
        image: ``(B, 3, H, W)`` in [0, 1].
        cell_px: Side of a cell; divides H and W.

    Returns:
        ``(B, 12, H / cell_px, W / cell_px)``.
    """
    mean = F.avg_pool2d(image, cell_px)
    logarithm = (mean + 0.01).log() / 2.0
    return torch.cat((mean, logarithm, -F.max_pool2d(-image, cell_px), F.max_pool2d(image, cell_px)), dim=1)
